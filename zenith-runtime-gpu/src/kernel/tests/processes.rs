//! Many processes choose with one store while some of them are killed: no reader stumbles, and in the end all choose the same.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::fakes::{Clock, Fake, candidates, choose, device};
use crate::kernel::select::{Selector, Settings};
use crate::kernel::store::Store;

const FOLDER: &str = "ZENITH_TEST_KERNEL_FOLDER";
const SEED: &str = "ZENITH_TEST_KERNEL_SEED";
const PROCESSES: u64 = 8;
/// Lengths that each process chooses for, of as many keys.
const LENGTHS: [u64; 12] = [16, 32, 64, 100, 128, 200, 256, 400, 512, 800, 1024, 2000];
/// Marks a line of a process that chose; the test harness prints others.
const MARK: &str = "chose ";

/// Rounds of killing; the long test has all.
const SHORT: u64 = 3;
const LONG: u64 = 50;

/// What the processes run: not a test of itself.
#[test]
#[ignore = "it is the process that the other tests start"]
fn process() {
    let (Ok(folder), Ok(seed)) = (env::var(FOLDER), env::var(SEED)) else { return };
    let clock = Clock::new(0.05, seed.parse().unwrap());
    // Near each other, so that noise alone would have different processes choose differently.
    let costs = [1.00e4, 0.985e4, 0.97e4, 0.965e4, 1.2e4];
    let fakes =
        costs.iter().enumerate().map(|(place, &ns)| Fake::new(&clock, &format!("c{place}"), ns)).collect();
    let all = candidates(fakes);
    let selector = Selector::new(device(), Some(Store::at(Path::new(&folder))), Settings::default());
    // Each begins elsewhere, so that they meet at some keys and are alone at others.
    let begin = seed.parse::<usize>().unwrap() % LENGTHS.len();
    for place in 0..LENGTHS.len() {
        let length = LENGTHS[(begin + place) % LENGTHS.len()];
        let chosen = choose(&selector, &clock, length, &all).unwrap();
        println!("\n{MARK}{length} {}", chosen.candidate.name);
        std::io::stdout().flush().unwrap();
    }
}

struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(folder: &Path, seed: u64) -> Self {
        let test = concat!(module_path!(), "::process");
        let (_, test) = test.split_once("::").unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads until it has chosen `count` times more, or has ended.
    fn chosen(&mut self, count: usize) -> Vec<String> {
        let lines = (&mut self.lines).lines().map(|line| line.unwrap());
        lines.filter_map(|line| line.strip_prefix(MARK).map(str::to_owned)).take(count).collect()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn finish(mut self) -> BTreeSet<String> {
        let chosen: BTreeSet<String> = self.chosen(usize::MAX).into_iter().collect();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        chosen
    }
}

/// Rows that are there as files, of which every one must be readable.
fn check(folder: &Path) -> usize {
    fn rows(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.path() {
                path if path.is_dir() => rows(&path),
                path => usize::from(path.extension().is_some_and(|kind| kind == "row")),
            })
            .sum()
    }
    // Rows are only added, so what was there before is among what is read afterwards.
    let files = rows(folder);
    let read = Store::at(folder).all().len();
    assert!(read >= files, "{files} files and {read} readable rows");
    files
}

fn rounds(count: u64) {
    let mut whole = 0;
    for round in 0..count {
        let dir = tempfile::tempdir().unwrap();
        let mut processes: Vec<Process> =
            (0..PROCESSES).map(|number| Process::start(dir.path(), round * PROCESSES + number)).collect();
        // Half of them are killed somewhere in the middle: after another number of choices each, while others go on.
        for number in 0..PROCESSES / 2 {
            let mut victim = processes.remove(0);
            victim.chosen(((round + number) % 5 * 2) as usize);
            victim.kill();
            check(dir.path());
        }
        // Others come in their place.
        processes.extend(
            (0..PROCESSES / 2)
                .map(|number| Process::start(dir.path(), 1_000_000 + round * PROCESSES + number)),
        );
        let choices: Vec<BTreeSet<String>> = processes.into_iter().map(Process::finish).collect();
        assert_eq!(choices[0].len(), LENGTHS.len(), "{:?}", choices[0]);
        assert!(choices.iter().all(|other| *other == choices[0]), "round {round}: {choices:#?}");
        whole += check(dir.path());
    }
    assert_eq!(whole, count as usize * LENGTHS.len() * 5);
}

#[test]
fn killed_processes_leave_nothing_that_others_stumble_over() {
    rounds(SHORT);
}

#[test]
#[ignore = "fifty rounds; to be asked for"]
fn killed_processes_leave_nothing_that_others_stumble_over_long() {
    rounds(LONG);
}
