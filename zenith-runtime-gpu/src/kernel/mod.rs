//! Which implementation of an operation is the fastest: measured, remembered, explained.
//!
//! A [`Problem`] is one call: an operation on operands of certain types, sizes and layouts. Problems that perform alike share a
//! [`Key`]. A [`Candidate`] is an implementation; a [`Workload`] is the operands on which candidates run in turn and the judge
//! of what they compute. A [`Selector`] measures candidates with a [`Timer`], keeps every sample in a [`Store`] and chooses by
//! the samples alone, so that everybody who reads the same store chooses the same.
//!
//! It knows no framework: operations, candidates and operands come from outside. The one operation it has itself is [`matmul`].

pub mod bucket;
pub mod candidate;
pub mod environment;
pub mod host;
pub mod key;
pub mod matmul;
pub mod sandbox;
pub mod select;
pub mod store;
pub mod timer;

#[cfg(test)]
mod tests;

pub use bucket::{Buckets, Rule, Span};
pub use candidate::{Candidate, CandidateId, Candidates, Failure, Judgement, Prepared, Rejection, Workload};
pub use environment::{Device, Environment, Library};
pub use host::HostTensor;
pub use key::{Alignment, Determinism, Family, Key, KeyError, Layout, Mode, Name, Op, Problem};
pub use sandbox::{Probe, Trial};
pub use select::{Choice, Explain, Selector, Settings};
pub use store::{Pin, Row, Store, StoreError};
pub use timer::{CpuTimer, Timer};
