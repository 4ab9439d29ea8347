//! Gang scheduling of GPUs.
//!
//! [`core`] holds jobs and nodes and decides; it is pure: time is an argument, effects leave through
//! [`Comm`](core::comm::Comm), and every change is an event from which the state can be rebuilt. [`policy`] says whose turn it
//! is. [`simulate`] runs both on a virtual clock over recorded work. None of the three knows a network, a disk, a thread or a
//! clock.
//!
//! [`engine`] is who places and runs gangs, as a contract; the embedded one is a controller and its agents. [`store`] keeps what
//! the core records. [`controller`] owns a core and a store, and acts. [`agent`] is what acts on a node: it starts the processes
//! of gangs and says what becomes of them. [`api`] is how a controller is reached, and [`client`] what the command and Python speak
//! to it through; [`view`] is what all of them show to programs. [`arguments`] and [`daemon`] are the program.

pub mod agent;
pub mod api;
pub mod arguments;
pub mod client;
pub mod controller;
pub mod core;
pub mod daemon;
pub mod engine;
pub mod policy;
pub mod refusal;
pub mod simulate;
pub mod store;
pub mod view;
