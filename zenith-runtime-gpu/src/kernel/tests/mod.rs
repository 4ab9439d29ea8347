//! Tests of the whole: choices, from candidates and a timer that are made up, so that nothing depends on the machine's speed.

mod choice;
mod contract;
mod fakes;
mod hostile;
mod keys;
mod lengths;
mod processes;
mod stored;
