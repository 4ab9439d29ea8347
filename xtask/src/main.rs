//! Chores of the repository: `cargo run -p xtask -- tidy`, `cargo run -p xtask -- crash [ROUNDS]`,
//! `cargo run -p xtask -- network`.

mod crash;
mod network;
mod tidy;

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a chore reports to its user")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["tidy"] => tidy(),
        ["crash"] => crash::run("200"),
        ["crash", rounds] => crash::run(rounds),
        ["network"] => network::run(),
        _ => {
            eprintln!("usage: cargo run -p xtask -- tidy | crash [ROUNDS] | network");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "a chore reports to its user")]
fn tidy() -> ExitCode {
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
