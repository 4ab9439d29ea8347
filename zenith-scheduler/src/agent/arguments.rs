//! The command line of an agent and of its nursery, for whatever program has them as commands.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use clap::Args;

use super::config::{Config, Keep, TOKEN_VARIABLE, Token};
use super::error::Error;
use super::gpus::{Declared, Devices};
use super::machine;

/// Joins this machine to a cluster as a node.
#[derive(Args, Clone, Debug)]
pub struct AgentArguments {
    /// Where the controller listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50051")]
    pub controller: String,
    /// The node itself.
    #[command(flatten)]
    pub node: NodeArguments,
    /// Folder that is this agent's alone [default: the user's data directory, zenith/agent within]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// File with the token that lets agents in; otherwise ZENITH_AGENT_TOKEN is looked at
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the certificates (PEM) of those who vouch for the controller; turns TLS on
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Send the token to another machine without encryption
    #[arg(long)]
    pub insecure: bool,
}

/// What a node is and has; for programs that run an agent within, too.
#[derive(Args, Clone, Debug)]
pub struct NodeArguments {
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Rack it is in
    #[arg(long, value_name = "NAME", default_value = "")]
    pub rack: String,
    /// Address by which other nodes reach this one [default: the one that reaches the controller]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Processors to hand out [default: all]
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory to hand out, in MiB [default: all]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// GPUs to hand out, without looking whether they exist or are well [default: those that NVIDIA's and AMD's drivers tell of]
    #[arg(long, value_name = "N")]
    pub gpus: Option<u32>,
    /// NUMA node of each of them [default: dealt evenly]
    #[arg(long, value_name = "NODE,..", value_delimiter = ',', requires = "gpus")]
    pub gpu_numa: Vec<u32>,
    /// NVLink group of each of them [default: one for all]
    #[arg(long, value_name = "GROUP,..", value_delimiter = ',', requires = "gpus")]
    pub gpu_nvlink: Vec<u32>,
    /// Seconds that drivers of GPUs may take to answer: then a node starts without GPUs, or takes no new work for those it has
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub gpu_patience: u64,
    /// MiB of each log after which its beginning is dropped; twice as much is kept at most
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub log_part: u64,
    /// Attempts that have ended whose logs are kept
    #[arg(long, value_name = "N", default_value_t = Keep::default().attempts)]
    pub keep_attempts: usize,
    /// MiB that the logs of all of them may take; the oldest go first
    #[arg(long, value_name = "MIB", default_value_t = Keep::default().bytes >> 20)]
    pub keep_mib: u64,
    /// Days for which they are kept
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub keep_days: u64,
    /// Folder the NUMA nodes are read from
    #[arg(long, value_name = "DIR", default_value = "/sys/devices/system/node", hide = true)]
    pub numa: PathBuf,
    /// Folder that the `sys` and `proc` lie in by which GPUs are found
    #[arg(long, value_name = "DIR", hide = true)]
    pub device_root: Option<PathBuf>,
}

/// Starts processes for an agent, which is on the other side of standard input.
#[derive(Args, Clone, Copy, Debug)]
pub struct NurseryArguments {}

impl AgentArguments {
    /// What they mean on this machine.
    ///
    /// # Errors
    /// A file cannot be read, arguments contradict each other, or the machine does not say what it has.
    pub fn config(&self) -> Result<Config, Error> {
        let read = |path: &PathBuf| fs::read(path).map_err(Error::file(path));
        let token = match &self.token_file {
            Some(path) => Some(Token::new(&String::from_utf8_lossy(&read(path)?))),
            None => env::var(TOKEN_VARIABLE).ok().as_deref().map(Token::new),
        };
        let state = match &self.state {
            Some(state) => state.clone(),
            None => default_state()?,
        };
        let mut config = self.node.config(self.controller.clone(), &state)?;
        config.token = token;
        config.insecure = self.insecure;
        config.tls_ca = self.tls_ca.as_ref().map(read).transpose()?;
        Ok(config)
    }
}

impl NodeArguments {
    /// What they mean on this machine, for an agent of that controller without token and encryption.
    ///
    /// # Errors
    /// Arguments contradict each other, or the machine does not say what it has.
    pub fn config(&self, controller: String, state: &Path) -> Result<Config, Error> {
        let given =
            |value: Option<u32>, otherwise: fn() -> Result<u32, Error>| value.map_or_else(otherwise, Ok);
        Ok(Config {
            controller,
            // A relative one would mean another folder to the processes, which run elsewhere.
            state: std::path::absolute(state).map_err(Error::file(state))?,
            name: self.name.clone().map_or_else(machine::name, Ok)?,
            rack: self.rack.clone(),
            address: self.address.clone(),
            cpus: given(self.cpus, machine::cpus)?,
            memory_mib: self.memory.map_or_else(machine::memory_mib, Ok)?,
            gpus: match self.gpus {
                Some(count) => Box::new(self.declared(count)?),
                None => {
                    let mut settings = zenith_device::Settings::host();
                    settings.root = self.device_root.clone().unwrap_or(settings.root);
                    Box::new(Devices::new(settings))
                }
            },
            gpu_patience: Duration::from_secs(self.gpu_patience),
            token: None,
            tls_ca: None,
            insecure: false,
            log_part: self.log_part << 20,
            keep: Keep {
                attempts: self.keep_attempts,
                bytes: self.keep_mib.saturating_mul(1 << 20),
                age: Duration::from_secs(self.keep_days.saturating_mul(24 * 60 * 60)),
            },
            nursery: Config::own_nursery(),
            numa: self.numa.clone(),
        })
    }

    fn declared(&self, count: u32) -> Result<Declared, Error> {
        for (option, list) in [("--gpu-numa", &self.gpu_numa), ("--gpu-nvlink", &self.gpu_nvlink)] {
            if !list.is_empty() && list.len() != count as usize {
                let given = list.len();
                return Err(Error::Arguments(format!("{option} has {given} numbers for {count} GPUs")));
            }
        }
        let nodes: Vec<u32> = machine::numa(&self.numa).iter().map(|node| node.id).collect();
        Ok(Declared::evenly(count, &nodes).with_places(&self.gpu_numa, &self.gpu_nvlink))
    }
}

fn default_state() -> Result<PathBuf, Error> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let nowhere =
        || Error::Arguments("there is no home directory; say where to keep state by --state".to_owned());
    Ok(data.ok_or_else(nowhere)?.join("zenith/agent"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::gpus::Teller;
    use super::super::session::Door;
    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        agent: AgentArguments,
    }

    fn config(arguments: &[&str]) -> Result<Config, Error> {
        let arguments = ["program", "--state", "/s", "--name", "n"].iter().chain(arguments);
        Program::try_parse_from(arguments).unwrap().agent.config()
    }

    #[test]
    fn gpus_are_what_is_declared() {
        let arguments =
            ["--gpus", "2", "--gpu-numa", "1,0", "--gpu-nvlink", "4,5", "--cpus", "3", "--memory", "9"];
        let config = config(&arguments).unwrap();
        let (teller, mut heard) = Teller::new();
        config.gpus.run(teller);
        let gpus = heard.list.try_recv().unwrap();
        assert_eq!(
            gpus.iter().map(|gpu| (gpu.numa, gpu.nvlink)).collect::<Vec<_>>(),
            [(Some(1), 4), (Some(0), 5)]
        );
        assert_eq!((config.cpus, config.memory_mib, config.log_part), (3, 9, 64 << 20));
    }

    #[test]
    fn a_list_for_other_gpus_is_refused() {
        let error = config(&["--gpus", "3", "--gpu-numa", "1,0"]).err().unwrap();
        assert_eq!(error.to_string(), "--gpu-numa has 2 numbers for 3 GPUs");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = config(&["--token-file", "/no/such/token"]).err().unwrap();
        assert!(error.to_string().starts_with("/no/such/token: "), "{error}");
    }

    #[test]
    fn a_token_goes_nowhere_in_the_clear_unless_that_is_wanted() {
        let door = |arguments: &[&str]| {
            let mut config = config(arguments).unwrap();
            config.token = Some(Token::new("sesame"));
            Door::new(&config).map(drop)
        };
        let refused = door(&["--controller", "head:1"]).unwrap_err();
        assert!(matches!(refused, Error::InTheClear { .. }), "{refused}");
        assert!(door(&["--controller", "head:1", "--insecure"]).is_ok());
        assert!(door(&["--controller", "127.0.0.1:1"]).is_ok());
    }
}
