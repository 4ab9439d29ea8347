//! What every engine has to hold to: one suite over `dyn Engine`, with real work, that any engine runs through which has a
//! [`fixture::Fixture`]. To add one, write its fixture in a file of its own and name it at the end of this one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod embedded;
mod fixture;
mod suite;
mod work;

/// Runs the suite with the engines of a fixture.
macro_rules! hold_to_the_contract {
    ($engine:ident: $fixture:ty; $($law:ident)*) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() {
                    crate::suite::$law::<$fixture>().await;
                }
            )*
        }
    };
}

/// The laws, once for all engines.
macro_rules! every_law {
    ($engine:ident: $fixture:ty) => {
        hold_to_the_contract! { $engine: $fixture;
            what_it_can_do_is_taken_in_and_the_rest_is_refused_by_name
            a_key_is_the_same_work_however_often_it_is_handed_in
            a_gang_has_all_of_its_gpus_or_none
            what_can_never_fit_waits_and_holds_nothing
            a_listener_hears_of_every_change_or_that_it_lags
            a_signal_reaches_every_rank_and_ends_nothing
            a_signal_that_cannot_be_sent_is_refused
            a_job_that_is_cancelled_ends_for_good_and_leaves_no_process
            what_is_somebody_elses_is_left_alone
            what_ranks_write_can_be_read_while_they_run_and_after
            jobs_on_nodes_that_are_away_cannot_be_vouched_for
            what_was_acknowledged_survives_the_engine
        }
    };
}

every_law! { built_in: crate::embedded::Built }
