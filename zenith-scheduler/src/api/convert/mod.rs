//! Between what is said on the wire and what the core knows. What comes in is checked here, each part by name, so that the
//! core is never asked what makes no sense; what goes out is built from the core within one call. Decides nothing.

mod cluster;
mod job;
mod node;
mod submission;
mod text;

pub use self::cluster::{cluster_of, queue_settings, user_settings};
pub use self::job::{cause_text, detail_of, job_of, outcome_of, state_of, state_on_wire, why_of};
pub use self::node::{condition_of, joining_of, report_of};
pub use self::submission::{submission_of, submission_on_wire};

use crate::refusal::Refusal;

fn invalid(field: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal::Invalid { field, reason: reason.into() }
}
