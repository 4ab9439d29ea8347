//! Chores of the repository: `cargo run -p xtask -- tidy`.

mod tidy;

use std::process::ExitCode;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore reports to its user")]
fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("tidy") {
        eprintln!("usage: cargo run -p xtask -- tidy");
        return ExitCode::from(2);
    }
    let faults = tidy::all(&tidy::root());
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        println!("tidy");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
