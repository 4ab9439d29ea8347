//! What is kept has bounds, and whoever meets one is told which.

use zenith_scheduler::controller::Settings;
use zenith_scheduler::core::Submission;
use zenith_scheduler::core::job::Work;

use crate::fixture::{Hands, House, ada, place, settings, work};

/// Work with an environment of so many bytes.
fn large(bytes: usize) -> Submission {
    let environment = [("FILL".to_owned(), "x".repeat(bytes))].into();
    Submission { work: Work { environment, ..work(1).work }, held: true, ..work(1) }
}

#[tokio::test]
async fn there_are_at_most_so_many_jobs_that_have_not_ended() {
    let (_dir, path) = place();
    let house = House::with(&path, Settings { max_open_jobs: 5, ..settings() });
    let first = house.submit(Submission { count: 4, ..work(1) }).await.unwrap();
    let refused = house.submit(Submission { count: 2, ..work(1) }).await.unwrap_err();
    assert_eq!(refused.code(), "too_many_jobs");
    assert!(refused.to_string().contains("4 jobs") && refused.hint().contains("max-open-jobs"), "{refused}");
    house.cancel(first).await;
    house.submit(Submission { count: 2, ..work(1) }).await.unwrap();
    assert_eq!(house.submit(work(1)).await.unwrap_err().code(), "too_many_jobs");
}

#[tokio::test]
async fn one_submission_and_all_of_them_have_a_size() {
    let (_dir, path) = place();
    let limits = || Settings { max_submission_bytes: 50_000, max_kept_bytes: 100_000, ..settings() };
    let house = House::with(&path, limits());
    let refused = house.submit(large(60_000)).await.unwrap_err();
    assert_eq!(refused.code(), "too_large");
    let first = house.submit(large(45_000)).await.unwrap();
    house.submit(large(45_000)).await.unwrap();
    let keyed = || Submission { key: "k".to_owned(), ..large(1000) };
    let known = house.submit(keyed()).await.unwrap();
    assert_eq!(house.submit(large(45_000)).await.unwrap_err().code(), "too_much");
    assert_eq!(
        house.submit(keyed()).await.unwrap(),
        known,
        "what was taken in is not refused when it is said again"
    );
    house.close();

    let house = House::with(&path, limits());
    assert_eq!(house.submit(large(45_000)).await.unwrap_err().code(), "too_much", "nor after a restart");
    house.cancel(first).await;
    house.close();
    // What has ended makes room when it is looked for: soon after a start, and then from time to time.
    let hands = Hands::new();
    let house = House::by(&path, limits(), hands.clone());
    hands.pass(1000);
    house.look().await;
    house.submit(large(45_000)).await.unwrap();
}

#[tokio::test]
async fn a_key_is_not_for_other_work() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let keyed = |gpus| Submission { key: "k".to_owned(), ..work(gpus) };
    let first = house.submit(keyed(1)).await.unwrap();
    let surroundings = Work { environment: [("SHLVL".to_owned(), "2".to_owned())].into(), ..work(1).work };
    assert_eq!(house.submit(Submission { work: surroundings, ..keyed(1) }).await.unwrap(), first);
    for other in [keyed(2), Submission { count: 2, ..keyed(1) }] {
        let refused = house.handle.call(move |turn| turn.submit(&ada(), other)).await.unwrap_err();
        assert_eq!(refused.code(), "key_reused");
        assert!(refused.to_string().contains(&first.to_string()), "{refused}");
    }
}
