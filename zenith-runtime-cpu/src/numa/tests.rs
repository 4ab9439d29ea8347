//! Topologies of small made-up machines.
