//! What programs see: the scheduler's answers as JSON, in one shape for REST, for the command's `--json` and for Python. The names are
//! those of `zenith.proto`, states are words, points in time and lengths of time are milliseconds, memory is MiB. Every field is
//! always there; what is unknown or was not asked for is null. Decides nothing and knows no door.

mod cluster;
mod job;
mod submission;

pub use self::cluster::{
    Cluster, Contact, Gpu, IllGpu, Node, NodeSpec, Queue, QueueSettings, User, UserSettings,
};
pub use self::job::{Job, JobDetail, JobState, Outcome, Rank, Refusal, Slice, Submitted, Usage, Why};
pub use self::submission::{Dependency, RanksPer, Resources, Submission, Topology};
