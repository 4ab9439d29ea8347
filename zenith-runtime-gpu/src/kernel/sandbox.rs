//! Trying a candidate out in a process of its own, which may hang or crash.
//!
//! The command is the candidate's. It finds the problem's text in [`PROBLEM_VARIABLE`], runs the candidate there, and writes one
//! line of JSON to stdout, the last one that is not empty: `{"protocol":1,"verdict":"passed"}` or
//! `{"protocol":1,"verdict":"rejected","kind":"wrong","detail":"..."}` with a [`Rejection`]'s words. At the deadline its whole
//! process group is killed.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::candidate::Rejection;
use super::key::Problem;

/// The environment variable in which a trial finds the text of its problem.
pub const PROBLEM_VARIABLE: &str = "ZENITH_KERNEL_PROBLEM";
/// The version of what is said on stdout.
pub const PROTOCOL: u32 = 1;
/// Bytes of output that are kept; of more, the last ones.
const MAX_OUTPUT: usize = 64 * 1024;
/// Characters of a trial's words that a rejection quotes.
const MAX_QUOTE: usize = 400;

/// How a candidate is tried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Variables that it gets besides this process's.
    pub env: Vec<(OsString, OsString)>,
    /// How long it may take.
    pub deadline: Duration,
}

/// What a trial says of its candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Trial {
    /// It ran, and its result was right.
    Passed,
    /// It is not to be chosen.
    Rejected(Rejection),
}

/// Why nothing is known of a candidate that was to be tried out.
#[derive(Debug, Error)]
pub enum TrialError {
    /// There is no command.
    #[error("a probe without a command: a program and its arguments would work")]
    Empty,
    /// It could not be started or watched.
    #[error("{program} could not be tried out: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    protocol: u32,
    #[serde(flatten)]
    trial: Trial,
}

impl Trial {
    /// The line that says so, as a trial writes it to stdout.
    #[must_use]
    pub fn line(&self) -> String {
        // A line of words and numbers always has a JSON form.
        serde_json::to_string(&Line { protocol: PROTOCOL, trial: self.clone() }).unwrap_or_default()
    }

    /// What the last line of `output` says.
    fn read(output: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(output);
        let Some(last) = text.lines().map(str::trim).rfind(|line| !line.is_empty()) else {
            return Err("it said nothing on stdout".to_owned());
        };
        match serde_json::from_str(last) {
            Ok(Line { protocol: PROTOCOL, trial }) => Ok(trial),
            Ok(Line { protocol, .. }) => Err(format!("it speaks protocol {protocol}, not {PROTOCOL}")),
            Err(_) => Err(format!("its last line on stdout is no verdict: {}", quote(last))),
        }
    }
}

/// Tries a candidate out on `problem`. Blocks until the trial has ended or was killed; nothing of it is left behind.
///
/// # Errors
/// When the trial cannot be started or watched: then nothing is known of the candidate.
pub fn attempt(probe: &Probe, problem: &Problem) -> Result<Trial, TrialError> {
    let [program, arguments @ ..] = probe.command.as_slice() else {
        return Err(TrialError::Empty);
    };
    let failed = |source| TrialError::Start { program: program.to_string_lossy().into_owned(), source };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(probe.env.iter().map(|(name, value)| (name, value)))
        .env(PROBLEM_VARIABLE, problem.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    orphan::end_with_parent(&mut command);
    let mut trial = Running::start(&mut command).map_err(failed)?;
    let deadline = Instant::now() + probe.deadline;
    let (output, in_time) = trial.watch(deadline).map_err(failed)?;
    let status = trial.end().map_err(failed)?;
    Ok(match verdict(&output, in_time, status, probe.deadline) {
        Ok(trial) => trial,
        Err(rejection) => Trial::Rejected(rejection),
    })
}

fn verdict(output: &[u8], in_time: bool, status: ExitStatus, deadline: Duration) -> Result<Trial, Rejection> {
    if !in_time {
        return Err(Rejection::Hung { deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX) });
    }
    if let Some(signal) = status.signal() {
        return Err(Rejection::Crashed { signal: signal_name(signal) });
    }
    match (Trial::read(output), status.code()) {
        (Ok(trial), Some(0)) => Ok(trial),
        // A verdict that comes with a failure's status may be about something else; a rejection still stands.
        (Ok(Trial::Rejected(rejection)), _) => Err(rejection),
        (Ok(Trial::Passed), code) => {
            Err(Rejection::Failed { detail: format!("it passed and exited with {}", code.unwrap_or(-1)) })
        }
        (Err(detail), code) => {
            Err(Rejection::Failed { detail: format!("exited with {}: {detail}", code.unwrap_or(-1)) })
        }
    }
}

/// A trial's process; its group dies with this.
struct Running {
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    stdout: ChildStdout,
    reaped: bool,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let parts = (|| {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let group = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
            let pidfd = pidfd_open(group, PidfdFlags::empty())?;
            let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe for stdout"))?;
            Ok((group, pidfd, stdout))
        })();
        match parts {
            Ok((group, pidfd, stdout)) => Ok(Self { child, group, pidfd, stdout, reaped: false }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Gathers output until the process has ended (true) or the deadline has come (false).
    fn watch(&mut self, deadline: Instant) -> io::Result<(Vec<u8>, bool)> {
        rustix::io::ioctl_fionbio(&self.stdout, true)?;
        let mut output = Vec::new();
        let mut open = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.try_into().map_err(|_| io::Error::other("the deadline is too far away"))?;
            let mut fds = [
                PollFd::new(&self.pidfd, PollFlags::IN),
                PollFd::from_borrowed_fd(
                    self.stdout.as_fd(),
                    if open { PollFlags::IN } else { PollFlags::empty() },
                ),
            ];
            let watched = if open { 2 } else { 1 };
            match poll(&mut fds[..watched], Some(&timeout)) {
                Ok(0) if left.is_zero() => return Ok((output, false)),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let ended = !fds[0].revents().is_empty();
            // What was written before the end is in the pipe by now. Who still has it open (a grandchild) is not waited for.
            open = open && self.gather(&mut output)?;
            if ended {
                return Ok((output, true));
            }
        }
    }

    /// Takes what is in the pipe; whether there can be more.
    fn gather(&mut self, output: &mut Vec<u8>) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        // A trial that writes without end must not keep us from the deadline.
        for _ in 0..MAX_OUTPUT / chunk.len() {
            match self.stdout.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    output.extend_from_slice(&chunk[..count]);
                    if output.len() > MAX_OUTPUT {
                        output.drain(..output.len() - MAX_OUTPUT);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Kills what is left of the group and reaps its leader, which keeps the group's number from being another's until then.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait()?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}

fn quote(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}

fn signal_name(number: i32) -> String {
    const NAMES: [(i32, &str); 14] = [
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGSYS, "SIGSYS"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGXCPU, "SIGXCPU"),
    ];
    let known = NAMES.iter().find(|(signal, _)| *signal == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

mod orphan {
    //! What a trial asks of the system before it becomes its program: to die with the thread that started it, and to leave no
    //! core file.
    #![expect(
        unsafe_code,
        reason = "a closure that runs between fork and exec has to be promised to be careful"
    )]

    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

    pub(super) fn end_with_parent(command: &mut Command) {
        // SAFETY: the closure makes two system calls, allocates nothing and takes no lock, so it may run in the child of a
        // process with threads.
        unsafe {
            command.pre_exec(|| {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
                Ok(())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::Family;

    fn problem() -> Problem {
        Problem::new(Family::plain("matmul", 1, &["float32"]).unwrap(), Vec::new()).unwrap()
    }

    fn shell(script: &str, deadline: Duration) -> Probe {
        let command = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
        Probe { command, env: vec![("WORD".into(), "passed".into())], deadline }
    }

    fn outcome(script: &str) -> Trial {
        attempt(&shell(script, Duration::from_secs(60)), &problem()).unwrap()
    }

    fn failed(trial: &Trial) -> &str {
        match trial {
            Trial::Rejected(Rejection::Failed { detail }) => detail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        assert_eq!(outcome(r#"echo hello; printf '{"protocol":1,"verdict":"%s"}\n\n' $WORD"#), Trial::Passed);
        let wrong = Trial::Rejected(Rejection::Wrong { detail: "7 instead of 8".into() });
        assert_eq!(outcome(&format!("echo '{}'", wrong.line())), wrong);
        let hung = Trial::Rejected(Rejection::Hung { deadline_ms: 5 });
        assert_eq!(outcome(&format!("echo '{}'; exit 3", hung.line())), hung);
    }

    #[test]
    fn it_learns_its_problem() {
        let script =
            format!(r#"[ "${PROBLEM_VARIABLE}" = "{}" ] && echo '{}'"#, problem(), Trial::Passed.line());
        assert_eq!(outcome(&script), Trial::Passed);
    }

    #[test]
    fn what_is_no_verdict_is_a_failure() {
        assert!(failed(&outcome("true")).contains("said nothing"));
        assert!(failed(&outcome("echo 42")).contains("no verdict: 42"));
        assert!(failed(&outcome(r#"echo '{"protocol":2,"verdict":"passed"}'"#)).contains("protocol 2"));
        assert!(
            failed(&outcome(&format!("echo '{}'; exit 7", Trial::Passed.line()))).contains("exited with 7")
        );
    }

    #[test]
    fn a_crash_is_named_by_its_signal() {
        assert_eq!(
            outcome("kill -SEGV $$"),
            Trial::Rejected(Rejection::Crashed { signal: "SIGSEGV".into() })
        );
        assert_eq!(
            outcome("kill -ABRT $$"),
            Trial::Rejected(Rejection::Crashed { signal: "SIGABRT".into() })
        );
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_its_processes() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let deadline = Duration::from_millis(300);
        let trial = attempt(&shell(&script, deadline), &problem()).unwrap();
        assert_eq!(trial, Trial::Rejected(Rejection::Hung { deadline_ms: 300 }));
        // On a machine too busy to start a shell in time there is no second process to look at.
        let second =
            std::fs::read_to_string(pid).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        if let Some(alive) = second.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
            // It is readable once the process has ended. It would do so by itself long after the test's own deadline.
            poll(&mut [PollFd::new(&alive, PollFlags::IN)], None).unwrap();
        }
    }

    #[test]
    fn a_process_left_behind_is_neither_waited_for_nor_left_alive() {
        let script = format!("sleep 1000 & echo '{}'", Trial::Passed.line());
        assert_eq!(outcome(&script), Trial::Passed);
    }

    #[test]
    fn one_that_writes_without_end_still_has_its_deadline() {
        let trial = attempt(&shell("yes", Duration::from_millis(100)), &problem()).unwrap();
        assert_eq!(trial, Trial::Rejected(Rejection::Hung { deadline_ms: 100 }));
    }

    #[test]
    fn one_that_cannot_be_started_is_not_rejected() {
        let probe =
            Probe { command: vec!["/nonexistent/program".into()], ..shell("", Duration::from_secs(1)) };
        assert!(matches!(attempt(&probe, &problem()), Err(TrialError::Start { .. })));
        let probe = Probe { command: Vec::new(), ..probe };
        assert!(matches!(attempt(&probe, &problem()), Err(TrialError::Empty)));
    }
}
