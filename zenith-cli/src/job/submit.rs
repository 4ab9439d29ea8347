//! `zenith job submit`: hands a command to the scheduler.

use std::collections::BTreeMap;
use std::env;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use zenith_proto::v1;
use zenith_scheduler::client::notation;
use zenith_scheduler::client::submission::RawSubmission;
use zenith_scheduler::view::Submitted;

use super::{logs, wait};
use crate::Failure;
use crate::connection::Connection;

/// Hand work to the scheduler and print its id.
#[derive(Debug, Args)]
#[command(after_help = "\
The job gets this shell's environment and directory, as with sbatch; --export none hands over nothing but what --env names. \
ZENITH_TOKEN and its like go along only if --env names them.\n\n\
  zenith job submit --gpus 8 --time 1-12 -- torchrun_free_script.sh\n\
  zenith job submit --nodes 2..4 --gpus-per-node 8 --preemptible -- python train.py\n\
  zenith job submit --array 10 --after 12 -- sh -c 'python eval.py --part $ZENITH_ARRAY_INDEX'")]
pub(crate) struct Arguments {
    /// GPUs in all [sbatch: -G, --gpus].
    #[arg(short = 'G', long, value_name = "N", help_heading = "Resources")]
    gpus: Option<u32>,
    /// Nodes: N, or MIN..MAX for as many as are free [sbatch: -N, --nodes=MIN-MAX].
    #[arg(short = 'N', long, value_name = "MIN..MAX", value_parser = notation::nodes, help_heading = "Resources")]
    nodes: Option<(u32, u32)>,
    /// GPUs on each node [sbatch: --gpus-per-node].
    #[arg(long, value_name = "N", help_heading = "Resources")]
    gpus_per_node: Option<u32>,
    /// Processors for each GPU, or for each node of work without GPUs [sbatch: --cpus-per-gpu, -c].
    #[arg(short = 'c', long, value_name = "N", help_heading = "Resources")]
    cpus: Option<u32>,
    /// Memory for each GPU, or for each node of work without GPUs: 16G, 512M [sbatch: --mem-per-gpu, --mem].
    #[arg(long, value_name = "SIZE", value_parser = notation::memory_mib, help_heading = "Resources")]
    mem: Option<u64>,
    /// How long an attempt may take: 90m, 1h30m, 12:00:00, 1-12:00:00; a number alone is minutes [sbatch: -t, --time].
    #[arg(short = 't', long, value_name = "SPAN", value_parser = notation::span_ms, help_heading = "Resources")]
    time: Option<u64>,
    /// How near each other GPUs have to be: nvlink, numa, node, rack; a wish, or a condition with :required
    /// [sbatch: --switches, --gres-flags].
    #[arg(long, value_name = "LEVEL[:required]", value_parser = notation::topology, help_heading = "Resources")]
    topology: Option<(v1::TopologyLevel, bool)>,
    /// One process per GPU, or one per node as for torchrun [sbatch: --ntasks-per-gpu, --ntasks-per-node].
    #[arg(long, value_enum, default_value_t = Share::Gpu, value_name = "SHARE", help_heading = "Resources")]
    ranks_per: Share,

    /// Urgency within the queue; larger is more urgent [sbatch: --priority, --nice].
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true,
        help_heading = "Queueing"
    )]
    priority: i32,
    /// The queue [sbatch: -p, --partition].
    #[arg(short = 'p', long, value_name = "NAME", help_heading = "Queueing")]
    queue: Option<String>,
    /// The same work so many times; each finds its number, from 0, in ZENITH_ARRAY_INDEX [sbatch: -a, --array=0-N].
    #[arg(short = 'a', long, value_name = "N", help_heading = "Queueing")]
    array: Option<u32>,
    /// Start only after this job, or the array it belongs to, has ended well; ID:any: however it ended
    /// [sbatch: -d, --dependency=afterok:ID, afterany:ID].
    #[arg(short = 'd', long, value_name = "ID[:ok|any]", value_delimiter = ',', value_parser = notation::dependency, help_heading = "Queueing")]
    after: Vec<v1::Dependency>,
    /// Let more urgent work end it; it queues again at once and finds its files in ZENITH_CHECKPOINT_DIR
    /// [sbatch: --requeue with PreemptMode].
    #[arg(long, help_heading = "Queueing")]
    preemptible: bool,
    /// Begin again so often after it has failed [sbatch: --requeue].
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Queueing")]
    retries: u32,
    /// Put it aside until `zenith job release` [sbatch: -H, --hold].
    #[arg(short = 'H', long, help_heading = "Queueing")]
    hold: bool,
    /// Take it in once, however often this is repeated with the same key.
    #[arg(long, value_name = "KEY", help_heading = "Queueing")]
    key: Option<String>,

    /// A name for lists; the program's name without it [sbatch: -J, --job-name].
    #[arg(short = 'J', long, value_name = "NAME")]
    name: Option<String>,
    /// A variable of the job: NAME=VALUE, or NAME for this shell's value [sbatch: --export=NAME=VALUE].
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// What of this shell's environment goes along [sbatch: --export].
    #[arg(long, value_enum, default_value_t = Export::All, value_name = "WHAT")]
    export: Export,
    /// Where it runs; here without it [sbatch: -D, --chdir].
    #[arg(short = 'D', long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Whose it is; for administrators [sbatch: --uid].
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Stay until it has ended, and end with its status [sbatch: -W, --wait].
    #[arg(short = 'W', long)]
    wait: bool,
    /// Stay, show what it writes, and end with its status [Slurm: srun].
    #[arg(short = 'f', long)]
    follow: bool,
    /// Print JSON: {"job": FIRST, "count": N, "known": whether the key was}.
    #[arg(long)]
    json: bool,

    /// The program and its arguments; no shell reads them.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Share {
    Gpu,
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Export {
    /// Everything but tokens.
    All,
    /// Nothing but what --env names.
    None,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let submission = arguments.written()?.submission();
    let key = arguments.key.clone().unwrap_or_default();
    let client = arguments.connection.open()?;
    let taken = client.call(|mut client| async move { client.submit(submission, key).await })?;
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&Submitted::from(taken))?)?;
    } else {
        writeln!(out, "{}", taken.job)?;
    }
    out.flush()?;
    let jobs: Vec<u64> = (taken.job..taken.job + u64::from(taken.count)).collect();
    if arguments.follow {
        for job in &jobs {
            logs::follow(&client, *job, out)?;
        }
    }
    if arguments.follow || arguments.wait {
        wait::until_ended(&client, &jobs)?;
    }
    Ok(())
}

impl Arguments {
    /// The work as it was written.
    fn written(&self) -> Result<RawSubmission, Failure> {
        let directory = match &self.dir {
            Some(dir) => std::path::absolute(dir)?,
            None => env::current_dir()?,
        };
        let directory = directory.into_os_string().into_string();
        let directory =
            directory.map_err(|dir| format!("{} is no UTF-8; jobs cannot run there", dir.display()))?;
        Ok(RawSubmission {
            command: self.command.clone(),
            name: self.name.clone(),
            user: self.user.clone(),
            queue: self.queue.clone(),
            priority: self.priority,
            gpus: self.gpus,
            nodes: self.nodes,
            gpus_per_node: self.gpus_per_node,
            cpus: self.cpus,
            mem_mib: self.mem,
            time_ms: self.time,
            topology: self.topology,
            rank_per_node: self.ranks_per == Share::Node,
            preemptible: self.preemptible,
            retries: self.retries,
            array: self.array,
            after: self.after.clone(),
            hold: self.hold,
            exported: if self.export == Export::All { surroundings() } else { BTreeMap::new() },
            environment: self.env.iter().map(|word| variable(word)).collect::<Result<_, _>>()?,
            directory,
        })
    }
}

/// This process's environment; what is no UTF-8 cannot go along.
fn surroundings() -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                variables.insert(name, value);
            }
            (Ok(name), _) => tracing::warn!("the variable {name} is no UTF-8 and does not go along"),
            (Err(name), _) => {
                tracing::warn!("the variable {} is no UTF-8 and does not go along", name.display());
            }
        }
    }
    variables
}

/// `NAME=VALUE`, or `NAME` for the value it has here.
fn variable(word: &str) -> Result<(String, String), Failure> {
    match word.split_once('=') {
        Some(("", _)) => Err(format!("--env {word:?} has no name; write NAME=VALUE").into()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => match env::var(word) {
            Ok(value) => Ok((word.to_owned(), value)),
            Err(error) => Err(format!("--env {word}: {error}").into()),
        },
    }
}
