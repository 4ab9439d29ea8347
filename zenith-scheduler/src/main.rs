//! The program `zenith-scheduler`: see `arguments` for what it is told and `daemon` for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    zenith_scheduler::arguments::run(std::env::args_os())
}
