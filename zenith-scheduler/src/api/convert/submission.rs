//! What is submitted, both ways.

use std::collections::BTreeMap;

use zenith_proto::v1;

use super::{invalid, text};
use crate::core::job::{Dependency, When, Work};
use crate::core::request::{Level, MAX_GANG, NodeCount, RanksPer, Request, Topology};
use crate::core::{JobId, Span, Submission};
use crate::refusal::Refusal;

/// Priorities reach so far in both directions: a hundred doublings of urgency.
const MAX_PRIORITY: i32 = 1000;
/// Most processors for one GPU or one node.
const MAX_CPUS: u32 = 1 << 16;
/// Most memory for one GPU or one node, in MiB.
const MAX_MEMORY_MIB: u64 = 1 << 30;
/// Most nodes of a gang.
const MAX_NODES: u32 = MAX_GANG;
/// The longest time limit: numbers that every reader of JSON has exactly.
const MAX_MS: u64 = (1 << 53) - 1;
/// Most bytes of a command or of an environment.
const MAX_BYTES: usize = 1 << 20;
/// Most submissions that one waits for.
const MAX_AFTER: usize = 1000;

/// What the core is asked to take in.
///
/// # Errors
/// [`Refusal::Invalid`] with the part that makes no sense. Whether the request is possible is the core's to say.
pub fn submission_of(given: Option<v1::Submission>, key: String) -> Result<Submission, Refusal> {
    let given = given.ok_or_else(|| invalid("submission", "it is missing"))?;
    text::title("name", &given.name)?;
    text::word("user", &given.user, false)?;
    text::word("queue", &given.queue, false)?;
    text::key("idempotency_key", &key)?;
    if given.priority.unsigned_abs() > MAX_PRIORITY.unsigned_abs() {
        let reason = format!("{}; -{MAX_PRIORITY} to {MAX_PRIORITY} are possible", given.priority);
        return Err(invalid("priority", reason));
    }
    if given.time_limit_ms == Some(0) {
        return Err(invalid("time_limit_ms", "a run takes longer than no time; leave it out for no limit"));
    }
    if let Some(limit) = given.time_limit_ms.filter(|limit| *limit > MAX_MS) {
        let reason = format!("{limit}; at most {MAX_MS} are possible, and none is no limit");
        return Err(invalid("time_limit_ms", reason));
    }
    if given.after.len() > MAX_AFTER {
        return Err(invalid("after", format!("{}; at most {MAX_AFTER} are possible", given.after.len())));
    }
    let work = work_of(given.command, given.environment, given.directory)?;
    let after = given.after.iter().map(|on| Dependency {
        on: JobId(on.job),
        when: if on.completed { When::Completed } else { When::Ended },
    });
    Ok(Submission {
        name: given.name,
        user: given.user,
        queue: if given.queue.is_empty() { "default".to_owned() } else { given.queue },
        priority: given.priority,
        request: request_of(given.resources.unwrap_or_default())?,
        time_limit: given.time_limit_ms.map(Span),
        runtime: None,
        preemptible: given.preemptible,
        retries: given.retries,
        after: after.collect(),
        held: given.held,
        count: given.count.max(1),
        key,
        work,
    })
}

fn work_of(
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    directory: String,
) -> Result<Work, Refusal> {
    text::path("directory", &directory)?;
    if command.first().is_none_or(String::is_empty) {
        return Err(invalid("command", "there is no program to run"));
    }
    command.iter().try_for_each(|part| text::nul_free("command", part))?;
    within("command", command.iter().map(String::len).sum())?;
    for (name, value) in &environment {
        if name.is_empty() || name.contains('=') {
            return Err(invalid("environment", format!("{name:?} is no name of a variable")));
        }
        text::nul_free("environment", name)?;
        text::nul_free("environment", value)?;
    }
    within("environment", environment.iter().map(|(name, value)| name.len() + value.len()).sum())?;
    Ok(Work { command, environment, directory })
}

fn within(field: &'static str, bytes: usize) -> Result<(), Refusal> {
    if bytes > MAX_BYTES {
        return Err(invalid(field, format!("{bytes} bytes; at most {MAX_BYTES} are possible")));
    }
    Ok(())
}

fn request_of(given: v1::Resources) -> Result<Request, Refusal> {
    if given.cpus > MAX_CPUS {
        return Err(invalid("cpus", format!("{}; at most {MAX_CPUS} are possible", given.cpus)));
    }
    if given.memory_mib > MAX_MEMORY_MIB {
        let reason = format!("{}; at most {MAX_MEMORY_MIB} are possible", given.memory_mib);
        return Err(invalid("memory_mib", reason));
    }
    for (field, nodes) in [("nodes_min", given.nodes_min), ("nodes_max", given.nodes_max)] {
        if let Some(nodes) = nodes.filter(|nodes| !(1..=MAX_NODES).contains(nodes)) {
            return Err(invalid(field, format!("{nodes}; 1 to {MAX_NODES} are possible")));
        }
    }
    let nodes = match (given.nodes_min, given.nodes_max) {
        (None, None) => None,
        (Some(min), Some(max)) => Some(NodeCount { min, max }),
        (Some(same), None) | (None, Some(same)) => Some(NodeCount { min: same, max: same }),
    };
    Ok(Request {
        gpus: given.gpus,
        nodes,
        gpus_per_node: given.gpus_per_node,
        cpus: given.cpus,
        memory_mib: given.memory_mib,
        topology: Topology {
            level: level_of(given.topology)?,
            required: given.topology_required.unwrap_or(true),
        },
        ranks: ranks_of(given.ranks_per)?,
    })
}

fn level_of(given: i32) -> Result<Level, Refusal> {
    match v1::TopologyLevel::try_from(given) {
        Ok(v1::TopologyLevel::Unspecified | v1::TopologyLevel::Node) => Ok(Level::Node),
        Ok(v1::TopologyLevel::Nvlink) => Ok(Level::NvLink),
        Ok(v1::TopologyLevel::Numa) => Ok(Level::Numa),
        Ok(v1::TopologyLevel::Rack) => Ok(Level::Rack),
        Err(_) => Err(invalid("topology", format!("{given} is none that this program knows"))),
    }
}

fn ranks_of(given: i32) -> Result<RanksPer, Refusal> {
    match v1::RanksPer::try_from(given) {
        Ok(v1::RanksPer::Unspecified | v1::RanksPer::Gpu) => Ok(RanksPer::Gpu),
        Ok(v1::RanksPer::Node) => Ok(RanksPer::Node),
        Err(_) => Err(invalid("ranks_per", format!("{given} is none that this program knows"))),
    }
}

/// What was submitted, as it is shown; without the environment, which may have secrets in it, where `is_own` is not set.
pub fn submission_on_wire(known: &Submission, is_own: bool) -> v1::Submission {
    let Submission { request, work, .. } = known;
    let environment = if is_own { work.environment.clone() } else { Default::default() };
    v1::Submission {
        name: known.name.clone(),
        user: known.user.clone(),
        queue: known.queue.clone(),
        priority: known.priority,
        resources: Some(v1::Resources {
            gpus: request.gpus,
            nodes_min: request.nodes.map(|nodes| nodes.min),
            nodes_max: request.nodes.map(|nodes| nodes.max),
            gpus_per_node: request.gpus_per_node,
            cpus: request.cpus,
            memory_mib: request.memory_mib,
            topology: match request.topology.level {
                Level::NvLink => v1::TopologyLevel::Nvlink,
                Level::Numa => v1::TopologyLevel::Numa,
                Level::Node => v1::TopologyLevel::Node,
                Level::Rack => v1::TopologyLevel::Rack,
            }
            .into(),
            topology_required: Some(request.topology.required),
            ranks_per: match request.ranks {
                RanksPer::Gpu => v1::RanksPer::Gpu,
                RanksPer::Node => v1::RanksPer::Node,
            }
            .into(),
        }),
        time_limit_ms: known.time_limit.map(|limit| limit.0),
        preemptible: known.preemptible,
        retries: known.retries,
        after: known
            .after
            .iter()
            .map(|on| v1::Dependency { job: on.on.0, completed: on.when == When::Completed })
            .collect(),
        held: known.held,
        count: known.count,
        command: work.command.clone(),
        environment,
        directory: work.directory.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> v1::Submission {
        let resources = Some(v1::Resources { gpus: Some(2), ..Default::default() });
        let command = vec!["true".to_owned()];
        v1::Submission { resources, command, ..Default::default() }
    }

    fn refused(change: impl FnOnce(&mut v1::Submission)) -> String {
        let mut given = plain();
        change(&mut given);
        submission_of(Some(given), String::new()).unwrap_err().to_string()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let given = v1::Submission {
            name: "a run".to_owned(),
            user: "ann".to_owned(),
            queue: "default".to_owned(),
            priority: -3,
            resources: Some(v1::Resources {
                gpus: None,
                nodes_min: Some(2),
                nodes_max: Some(4),
                gpus_per_node: Some(8),
                cpus: 3,
                memory_mib: 100,
                topology: v1::TopologyLevel::Rack.into(),
                topology_required: Some(false),
                ranks_per: v1::RanksPer::Node.into(),
            }),
            time_limit_ms: Some(5000),
            preemptible: true,
            retries: 2,
            after: vec![
                v1::Dependency { job: 7, completed: true },
                v1::Dependency { job: 9, completed: false },
            ],
            held: true,
            count: 3,
            command: vec!["python".to_owned(), "train.py".to_owned()],
            environment: [("A".to_owned(), "b=c".to_owned())].into(),
            directory: "/home/ann".to_owned(),
        };
        let core = submission_of(Some(given.clone()), "key".to_owned()).unwrap();
        assert_eq!(core.key, "key");
        assert_eq!(submission_on_wire(&core, true), given);
        assert_eq!(submission_on_wire(&core, false).environment.len(), 0, "secrets are for their owner");
    }

    #[test]
    fn what_is_left_out_has_its_usual_meaning() {
        let core = submission_of(Some(plain()), String::new()).unwrap();
        assert_eq!((core.queue.as_str(), core.count), ("default", 1));
        assert_eq!(core.request, Request::gpus(2));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert_eq!(submission_of(None, String::new()).unwrap_err().to_string(), "submission: it is missing");
        assert!(refused(|given| given.command.clear()).starts_with("command: "));
        assert!(refused(|given| given.command = vec![String::new()]).starts_with("command: "));
        assert!(refused(|given| given.priority = i32::MIN).starts_with("priority: "));
        assert!(refused(|given| given.time_limit_ms = Some(0)).starts_with("time_limit_ms: "));
        assert!(refused(|given| given.time_limit_ms = Some(u64::MAX)).starts_with("time_limit_ms: "));
        assert!(refused(|given| given.directory = "here".to_owned()).starts_with("directory: "));
        assert!(refused(|given| given.resources.as_mut().unwrap().topology = 17).starts_with("topology: "));
        assert!(refused(|given| given.resources.as_mut().unwrap().ranks_per = -1).starts_with("ranks_per: "));
        assert!(refused(|given| given.resources.as_mut().unwrap().cpus = u32::MAX).starts_with("cpus: "));
        for nodes in [0, u32::MAX] {
            assert!(
                refused(|given| given.resources.as_mut().unwrap().nodes_max = Some(nodes))
                    .starts_with("nodes_max: ")
            );
        }
        let variable = |name: &str| [(name.to_owned(), String::new())].into();
        assert!(refused(|given| given.environment = variable("a=b")).starts_with("environment: "));
        assert!(refused(|given| given.environment = variable("")).starts_with("environment: "));
    }
}
