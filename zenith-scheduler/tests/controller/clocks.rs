//! Clocks that are set, machines that sleep, and a controller that stands still: none of it ends anything.

use std::sync::atomic::Ordering;

use zenith_scheduler::core::node::Contact;
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{Span, Submission};

use crate::fixture::{HOUR, Hands, House, Node, place, settings, work};

/// Some seconds in which the node is heard, and the controller looks.
async fn live(house: &House, hands: &Hands, node: &Node, seconds: u64) {
    for _ in 0..seconds {
        hands.pass(1000);
        node.welcome.alive.heard();
        house.look().await;
    }
}

#[tokio::test]
async fn a_wall_clock_that_is_set_ends_nothing() {
    let (_dir, path) = place();
    let hands = Hands::new();
    let house = House::by(&path, settings(), hands.clone());
    let mut node = house.join("a", 1, &[]).await;
    let limited = Submission { time_limit: Some(Span(HOUR / 2)), ..work(1) };
    let job = house.submit(limited).await.unwrap();
    let start = node.told_to_start().await;
    node.run(&start).await;
    for wall in [0, 999 * HOUR, 1001 * HOUR, 9000 * HOUR] {
        hands.wall.store(wall, Ordering::Relaxed);
        live(&house, &hands, &node, 90).await;
        assert_eq!(
            (house.contact(&node).await, house.state(job).await),
            (Contact::Up, State::Running),
            "{wall}"
        );
    }
    let (now, placed) = house
        .handle
        .call(move |turn| Ok((turn.now(), turn.core().job(job).unwrap().placed.unwrap())))
        .await
        .unwrap();
    assert_eq!(now.since(placed), Span(360_000), "time went on evenly");
    hands.pass(HOUR / 2);
    node.welcome.alive.heard();
    house.until(job, State::Stopping).await;
}

#[tokio::test]
async fn a_clock_that_was_a_year_ahead_once_stops_nothing_for_a_year() {
    let (_dir, path) = place();
    let hands = Hands::new();
    hands.wall.store(9760 * HOUR, Ordering::Relaxed);
    let house = House::by(&path, settings(), hands.clone());
    let node = house.join("a", 1, &[]).await;
    drop(node);
    house.close();
    hands.wall.store(1000 * HOUR, Ordering::Relaxed);
    let house = House::by(&path, settings(), hands.clone());
    let mut node = house.join("a", 1, &[]).await;
    live(&house, &hands, &node, 90).await;
    let short = Submission { time_limit: Some(Span(60_000)), ..work(1) };
    let job = house.submit(short).await.unwrap();
    let start = node.told_to_start().await;
    node.run(&start).await;
    live(&house, &hands, &node, 59).await;
    assert_eq!(house.state(job).await, State::Running);
    live(&house, &hands, &node, 2).await;
    assert_eq!(house.state(job).await, State::Stopping);
}

#[tokio::test]
async fn after_the_controller_stood_still_nodes_have_their_whole_time_again() {
    let (_dir, path) = place();
    let hands = Hands::new();
    let house = House::by(&path, settings(), hands.clone());
    let (node, job, _) = house.at_work("a", 1, 1).await;
    live(&house, &hands, &node, 5).await;
    hands.pass(100 * HOUR);
    house.look().await;
    assert_eq!((house.contact(&node).await, house.state(job).await), (Contact::Up, State::Running));
    for _ in 0..59 {
        hands.pass(1000);
        house.look().await;
    }
    assert_eq!((house.contact(&node).await, house.state(job).await), (Contact::Silent, State::Running));
    hands.pass(1000);
    house.look().await;
    assert_eq!((house.contact(&node).await, house.state(job).await), (Contact::Lost, State::Queued));
}
