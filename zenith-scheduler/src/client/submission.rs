//! Work as a user writes it, by flags or by keyword arguments, made into a [`v1::Submission`]. What is left out is decided here, once for
//! the command and for Python.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use zenith_proto::v1;

use super::notation::{self, NotationError};

/// Variables that show who somebody is: a job gets them only if they are named, since what a job gets is kept and shown.
pub const WITHHELD: [&str; 3] = ["ZENITH_TOKEN", "ZENITH_AGENT_TOKEN", "ZENITH_TOKEN_FILE"];

/// Work as a user writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSubmission {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The name; the program's where it is left out.
    pub name: Option<String>,
    /// Whose it is; whoever calls where it is left out.
    pub user: Option<String>,
    /// The queue; the default one where it is left out.
    pub queue: Option<String>,
    /// Larger is more urgent.
    pub priority: i32,
    /// GPUs in all.
    pub gpus: Option<u32>,
    /// Nodes, fewest and most.
    #[serde(deserialize_with = "nodes")]
    pub nodes: Option<(u32, u32)>,
    /// GPUs on each node.
    pub gpus_per_node: Option<u32>,
    /// Processors for each GPU, or for each node of work without GPUs, which has one where it is left out.
    pub cpus: Option<u32>,
    /// Memory for each GPU, or for each node of work without GPUs.
    #[serde(rename = "mem", deserialize_with = "memory")]
    pub mem_mib: Option<u64>,
    /// How long an attempt may take.
    #[serde(rename = "time", deserialize_with = "span")]
    pub time_ms: Option<u64>,
    /// How near GPUs have to be, and whether that is a condition.
    #[serde(deserialize_with = "topology")]
    pub topology: Option<(v1::TopologyLevel, bool)>,
    /// One process per node instead of one per GPU.
    #[serde(rename = "ranks_per", deserialize_with = "ranks_per")]
    pub rank_per_node: bool,
    /// It may be ended for more urgent work and begins again later.
    pub preemptible: bool,
    /// How often it begins again after it failed.
    pub retries: u32,
    /// Jobs of the array.
    pub array: Option<u32>,
    /// What has to end first.
    #[serde(deserialize_with = "dependencies")]
    pub after: Vec<v1::Dependency>,
    /// It waits until it is released.
    pub hold: bool,
    /// The submitter's environment, which goes along except for [`WITHHELD`].
    pub exported: BTreeMap<String, String>,
    /// Variables beside and before them.
    pub environment: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: String,
}

impl RawSubmission {
    /// Work as the scheduler takes it.
    pub fn submission(self) -> v1::Submission {
        let has_gpus = self.gpus.unwrap_or(0) > 0 || self.gpus_per_node.unwrap_or(0) > 0;
        let name = self.name.unwrap_or_else(|| {
            let program = self.command.first().map(Path::new).and_then(Path::file_name);
            program.map(|program| program.to_string_lossy().into_owned()).unwrap_or_default()
        });
        let mut environment = self.exported;
        environment.retain(|name, _| !WITHHELD.contains(&name.as_str()));
        environment.extend(self.environment);
        let (level, required) = match self.topology {
            Some((level, required)) => (level, Some(required)),
            None => (v1::TopologyLevel::Unspecified, None),
        };
        let ranks_per = if self.rank_per_node { v1::RanksPer::Node } else { v1::RanksPer::Unspecified };
        v1::Submission {
            name,
            user: self.user.unwrap_or_default(),
            queue: self.queue.unwrap_or_default(),
            priority: self.priority,
            resources: Some(v1::Resources {
                gpus: self.gpus,
                nodes_min: self.nodes.map(|(min, _)| min),
                nodes_max: self.nodes.map(|(_, max)| max),
                gpus_per_node: self.gpus_per_node,
                cpus: self.cpus.unwrap_or(u32::from(!has_gpus)),
                memory_mib: self.mem_mib.unwrap_or(0),
                topology: level.into(),
                topology_required: required,
                ranks_per: ranks_per.into(),
            }),
            time_limit_ms: self.time_ms,
            preemptible: self.preemptible,
            retries: self.retries,
            after: self.after,
            held: self.hold,
            count: self.array.unwrap_or(1),
            command: self.command,
            environment,
            directory: self.directory,
        }
    }
}

fn written<'de, T, D: Deserializer<'de>>(
    from: D,
    read: impl Fn(&str) -> Result<T, NotationError>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| read(&text)).transpose().map_err(de::Error::custom)
}

fn nodes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<(u32, u32)>, D::Error> {
    written(from, notation::nodes)
}

fn memory<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    written(from, notation::memory_mib)
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    written(from, notation::span_ms)
}

fn topology<'de, D: Deserializer<'de>>(from: D) -> Result<Option<(v1::TopologyLevel, bool)>, D::Error> {
    written(from, notation::topology)
}

fn ranks_per<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(written(from, notation::rank_per_node)?.unwrap_or(false))
}

fn dependencies<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<v1::Dependency>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| notation::dependency(text)).collect::<Result<_, _>>().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyword_arguments_become_a_submission() {
        let json = r#"{"command": ["/usr/bin/python", "t.py"], "gpus_per_node": 8, "nodes": "2..4", "mem": "16G", "time": "1-12",
            "topology": "rack:required", "ranks_per": "node", "after": ["7:any"], "array": 3, "directory": "/here",
            "exported": {"ZENITH_TOKEN": "secret", "PATH": "/bin", "A": "1"}, "environment": {"A": "2"}}"#;
        let made = serde_json::from_str::<RawSubmission>(json).unwrap().submission();
        let resources = made.resources.as_ref().unwrap();
        assert_eq!(made.name, "python");
        assert_eq!(
            (resources.nodes_min, resources.nodes_max, resources.gpus_per_node),
            (Some(2), Some(4), Some(8))
        );
        assert_eq!((resources.cpus, resources.memory_mib), (0, 16 << 10));
        assert_eq!(
            (resources.topology(), resources.topology_required),
            (v1::TopologyLevel::Rack, Some(true))
        );
        assert_eq!(resources.ranks_per(), v1::RanksPer::Node);
        assert_eq!((made.count, made.time_limit_ms), (3, Some(36 * 3_600_000)));
        assert_eq!(made.after, [v1::Dependency { job: 7, completed: false }]);
        let environment: Vec<(&str, &str)> = made.environment.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(environment, [("A", "2"), ("PATH", "/bin")]);
    }

    #[test]
    fn work_that_asks_for_nothing_has_a_processor() {
        let made = serde_json::from_str::<RawSubmission>(r#"{"command": ["true"]}"#).unwrap().submission();
        assert_eq!(made.resources.unwrap().cpus, 1);
    }

    #[test]
    fn words_that_mean_nothing_are_named() {
        let error = |json| serde_json::from_str::<RawSubmission>(json).unwrap_err().to_string();
        assert!(error(r#"{"time": "soon"}"#).contains("soon"));
        assert!(error(r#"{"gpu": 1}"#).contains("gpu"));
        assert!(error(r#"{"ranks_per": "rack"}"#).contains("rack"));
    }
}
