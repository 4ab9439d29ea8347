//! The program itself, as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::server::PATIENCE;

/// The program, running.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) grpc: SocketAddr,
    pub(crate) rest: SocketAddr,
    said: mpsc::Receiver<String>,
}

pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_zenith-scheduler"))
}

/// What makes it serve the state in a folder, at ports that are free.
pub(crate) fn arguments(state: &Path) -> Vec<String> {
    let state = state.to_str().unwrap();
    let arguments = ["--state", state, "--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0", "--no-agent"];
    arguments.map(str::to_owned).to_vec()
}

impl Process {
    pub(crate) fn start(state: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(arguments(state)).args(more);
        Self::spawn(command)
    }

    /// Starts a command that becomes the program, and waits until it says where it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test may have heard enough.
                let _ = sender.send(line);
            }
        });
        let mut heard = Vec::new();
        let mut address = |what: &str| loop {
            let Ok(line) = said.recv_timeout(PATIENCE) else { panic!("{what} is not served: {heard:#?}") };
            let at = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
            heard.push(line.clone());
            if let Some(at) = at.filter(|_| line.contains(what)) {
                return at.parse().unwrap();
            }
        };
        let (grpc, rest) = (address("gRPC is served"), address("REST is served"));
        Self { child, grpc, rest, said }
    }

    /// Waits until it says something like this in its log.
    pub(crate) fn says(&self, what: &str) {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            if line.unwrap_or_else(|_| panic!("it does not say: {what}")).contains(what) {
                return;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        waited(&mut self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process's end, within reason.
pub(crate) fn waited(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("the program does not end");
}
