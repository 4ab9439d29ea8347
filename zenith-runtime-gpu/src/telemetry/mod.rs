//! Where the time of a training step went: waiting, working, gaps on the device, use of its arithmetic.
//!
//! [`steps`] is the account, of times that somebody else takes: it knows no clock, no device and no framework. How busy a
//! GPU's parts were is `zenith-device`'s to tell. How it is shown is the Python package's.

pub mod steps;
