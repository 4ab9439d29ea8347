//! Where the ranks of a gang meet: one place for one attempt, whatever happens in between.

use zenith_scheduler::controller::ops::Happened;
use zenith_scheduler::core::JobId;
use zenith_scheduler::core::job::{Exit, Used};
use zenith_scheduler::core::node::NodeSpec;

use crate::fixture::{House, Node, pair, place, work};

async fn joined(house: &House, name: &str, known: &[(JobId, u32)]) -> Node {
    house.join_as(NodeSpec::with_gpus(name, 1), &format!("{name}.example"), known).await
}

#[tokio::test]
async fn a_part_that_is_sent_again_after_a_crash_meets_where_the_others_do() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut a = joined(&house, "a", &[]).await;
    let mut b = joined(&house, "b", &[]).await;
    // Others have had the first ports before.
    for _ in 0..3 {
        house.submit(work(1)).await.unwrap();
    }
    for _ in 0..3 {
        let (node, start) = tokio::select! {
            start = a.told_to_start() => (&a, start),
            start = b.told_to_start() => (&b, start),
        };
        node.run(&start).await;
        node.end(&start, Exit::Code(0)).await;
    }
    let job = house.submit(pair(1)).await.unwrap();
    let (on_a, on_b) = (a.told_to_start().await, b.told_to_start().await);
    let meeting = (on_a.master_address.clone(), on_a.master_port);
    assert_eq!((on_b.master_address.clone(), on_b.master_port), meeting);
    let first = if on_a.node_rank == 0 { "a.example" } else { "b.example" };
    assert_eq!(meeting.0, first);
    drop((a, b));
    house.close();

    // Neither has heard of it, and whoever is not first comes back first.
    let house = House::open(&path);
    let order = if on_a.node_rank == 0 { ["b", "a"] } else { ["a", "b"] };
    for name in order {
        let mut node = joined(&house, name, &[]).await;
        let again = node.told_to_start().await;
        assert_eq!((again.job, again.attempt), (job.0, 1));
        assert_eq!((again.master_address, again.master_port), meeting, "on {name}");
    }
}

#[tokio::test]
async fn what_a_node_remembers_of_older_attempts_moves_nothing() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut a = joined(&house, "a", &[]).await;
    let job = house.submit(work(1)).await.unwrap();
    let start = a.told_to_start().await;
    let exit = Happened::Exited { rank: 0, exit: Exit::Signal(9), used: Used::default(), note: None };
    a.report(&start, exit).await.unwrap();
    let second = a.told_to_start().await;
    assert_eq!(second.attempt, 2);
    drop(a);
    house.close();

    let house = House::open(&path);
    let mut a = joined(&house, "a", &[(job, 1)]).await;
    let (mut again, mut killed) = (None, false);
    while again.is_none() || !killed {
        match a.told().await {
            zenith_proto::v1::controller_message::Kind::Start(start) => again = Some(start),
            zenith_proto::v1::controller_message::Kind::Signal(signal) => killed = signal.attempt == 1,
            other => panic!("told {other:?}"),
        }
    }
    let again = again.unwrap();
    assert_eq!((again.attempt, again.master_port), (2, second.master_port));
}
