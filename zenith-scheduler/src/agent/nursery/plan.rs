//! From what the controller sends to what each process gets: environment, GPUs, processors. Pure: knows no disk, no process
//! and no clock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zenith_proto::v1;

use crate::agent::layout::{Key, Layout};

/// Variables of the agent that its processes see. Everything else they have from their job.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"];

/// A NUMA node of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NumaNode {
    pub(crate) id: u32,
    pub(crate) cpus: Vec<u32>,
}

/// The machine as far as processes are fitted to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The node's name.
    pub(crate) name: String,
    pub(crate) numa: Vec<NumaNode>,
    /// The NUMA node of each GPU.
    pub(crate) gpus: Vec<u32>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RankPlan {
    pub(crate) rank: u32,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// The processors it is bound to; none where it may use all.
    pub(crate) cpus: Vec<u32>,
    /// The NUMA nodes its memory comes from; none where it does not matter.
    pub(crate) memory_nodes: Vec<u32>,
}

/// The processes of a gang on this node.
pub(crate) fn ranks(
    start: &v1::Start,
    machine: &Machine,
    layout: &Layout,
    base: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<RankPlan> {
    let base: BTreeMap<OsString, OsString> = base.filter(|(name, _)| is_inherited(name)).collect();
    let own = start.environment.iter().map(|(name, value)| (name.into(), value.into()));
    let shared: BTreeMap<OsString, OsString> = base.into_iter().chain(own).collect();
    (0..start.local_ranks).map(|local| rank(start, local, machine, layout, shared.clone())).collect()
}

fn is_inherited(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_"))
}

fn rank(
    start: &v1::Start,
    local: u32,
    machine: &Machine,
    layout: &Layout,
    mut environment: BTreeMap<OsString, OsString>,
) -> RankPlan {
    let key = Key { job: start.job, attempt: start.attempt };
    let rank = start.rank_offset + local;
    let slice = start.slice.clone().unwrap_or_default();
    let gpus = share(&slice.gpus, local, start.local_ranks);
    let listed: Vec<String> = gpus.iter().map(u32::to_string).collect();
    let threads = (slice.cpus / start.local_ranks.max(1)).max(1);
    environment.entry("OMP_NUM_THREADS".into()).or_insert_with(|| threads.to_string().into());
    let mut set = |name: &str, value: OsString| environment.insert(name.into(), value);
    set("MASTER_ADDR", (&start.master_address).into());
    set("MASTER_PORT", start.master_port.to_string().into());
    set("RANK", rank.to_string().into());
    set("WORLD_SIZE", start.world_size.to_string().into());
    set("LOCAL_RANK", local.to_string().into());
    set("LOCAL_WORLD_SIZE", start.local_ranks.to_string().into());
    set("NODE_RANK", start.node_rank.to_string().into());
    set("GROUP_RANK", start.node_rank.to_string().into());
    set("CUDA_VISIBLE_DEVICES", listed.join(",").into());
    set("ZENITH_JOB_ID", start.job.to_string().into());
    set("ZENITH_JOB_NAME", (&start.name).into());
    set("ZENITH_ARRAY_INDEX", start.job.saturating_sub(start.first).to_string().into());
    set("ZENITH_ATTEMPT", start.attempt.to_string().into());
    set("ZENITH_RESTART_COUNT", start.restarts.to_string().into());
    set("ZENITH_CHECKPOINT_DIR", layout.checkpoint(start.job).into());
    set("ZENITH_NODE_NAME", (&machine.name).into());
    set(MARK, mark(&layout.run(key)));
    let memory_nodes = nodes_of(gpus, machine);
    let of_nodes = machine.numa.iter().filter(|node| memory_nodes.contains(&node.id));
    RankPlan { rank, environment, cpus: of_nodes.flat_map(|node| node.cpus.clone()).collect(), memory_nodes }
}

/// The variable by which the processes of an attempt are known, whatever became of their parents.
pub(crate) const MARK: &str = "ZENITH_RUN_DIR";

/// Its value: no two attempts on a machine have the same.
pub(crate) fn mark(run: &Path) -> OsString {
    run.into()
}

/// The part of the GPUs that a rank gets: in order, in equal parts, the first ones one more where it does not come out even.
fn share(gpus: &[u32], local: u32, ranks: u32) -> &[u32] {
    let (count, local, ranks) = (gpus.len(), local as usize, ranks.max(1) as usize);
    let (each, more) = (count / ranks, count % ranks);
    let first = local * each + local.min(more);
    &gpus[first..first + each + usize::from(local < more)]
}

/// The NUMA nodes that GPUs hang on; none where the machine has but one, or where they are not known.
fn nodes_of(gpus: &[u32], machine: &Machine) -> Vec<u32> {
    if machine.numa.len() < 2 {
        return Vec::new();
    }
    let known = |node: &u32| machine.numa.iter().any(|numa| numa.id == *node && !numa.cpus.is_empty());
    let node = |gpu: &u32| machine.gpus.get(*gpu as usize).copied().filter(known);
    let Some(mut nodes) = gpus.iter().map(node).collect::<Option<Vec<u32>>>() else { return Vec::new() };
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let numa = |id, cpus: &[u32]| NumaNode { id, cpus: cpus.to_vec() };
        Machine { name: "n1".into(), numa: vec![numa(0, &[0, 1]), numa(1, &[2, 3])], gpus: vec![0, 0, 1, 1] }
    }

    fn start(gpus: &[u32], local_ranks: u32) -> v1::Start {
        let slice = v1::Slice { gpus: gpus.to_vec(), cpus: 6, ..Default::default() };
        v1::Start {
            job: 12,
            first: 10,
            attempt: 2,
            restarts: 1,
            rank_offset: 4,
            local_ranks,
            world_size: 8,
            node_rank: 1,
            nodes: 2,
            master_address: "10.0.0.1".into(),
            master_port: 29_500,
            name: "train".into(),
            slice: Some(slice),
            environment: [("LR", "0.1"), ("RANK", "99"), ("PATH", "/mine")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Default::default()
        }
    }

    fn planned(start: &v1::Start) -> Vec<RankPlan> {
        let base = [("PATH", "/bin"), ("HOME", "/root"), ("LC_ALL", "C"), ("AWS_SECRET_ACCESS_KEY", "x")];
        let base = base.map(|(name, value)| (name.into(), value.into()));
        ranks(start, &machine(), &Layout::new(Path::new("/s")), base.into_iter())
    }

    #[test]
    fn a_rank_finds_its_place_in_the_environment() {
        let plan = &planned(&start(&[1, 2, 3], 3))[1];
        let text: Vec<String> = plan
            .environment
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        let expected = [
            "CUDA_VISIBLE_DEVICES=2",
            "GROUP_RANK=1",
            "HOME=/root",
            "LC_ALL=C",
            "LOCAL_RANK=1",
            "LOCAL_WORLD_SIZE=3",
            "LR=0.1",
            "MASTER_ADDR=10.0.0.1",
            "MASTER_PORT=29500",
            "NODE_RANK=1",
            "OMP_NUM_THREADS=2",
            "PATH=/mine",
            "RANK=5",
            "WORLD_SIZE=8",
            "ZENITH_ARRAY_INDEX=2",
            "ZENITH_ATTEMPT=2",
            "ZENITH_CHECKPOINT_DIR=/s/checkpoints/12",
            "ZENITH_JOB_ID=12",
            "ZENITH_JOB_NAME=train",
            "ZENITH_NODE_NAME=n1",
            "ZENITH_RESTART_COUNT=1",
            "ZENITH_RUN_DIR=/s/runs/12.2",
        ];
        assert_eq!(text, expected);
    }

    #[test]
    fn a_rank_is_bound_to_the_nodes_of_its_gpus() {
        let bound = |gpus: &[u32], ranks| -> Vec<(Vec<u32>, Vec<u32>)> {
            planned(&start(gpus, ranks)).into_iter().map(|plan| (plan.cpus, plan.memory_nodes)).collect()
        };
        assert_eq!(bound(&[0, 3], 2), [(vec![0, 1], vec![0]), (vec![2, 3], vec![1])]);
        assert_eq!(bound(&[0, 3], 1), [(vec![0, 1, 2, 3], vec![0, 1])]);
        assert_eq!(bound(&[], 1), [(vec![], vec![])]);
        assert_eq!(bound(&[7], 1), [(vec![], vec![])], "a GPU that nobody knows");
    }

    #[test]
    fn gpus_are_handed_out_once_and_in_order() {
        for count in 0..9_u32 {
            for ranks in 1..6 {
                let gpus: Vec<u32> = (10..10 + count).collect();
                let parts: Vec<&[u32]> = (0..ranks).map(|local| share(&gpus, local, ranks)).collect();
                assert_eq!(parts.concat(), gpus);
                let sizes = || parts.iter().map(|part| part.len());
                assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn threads_are_the_users_to_set_and_at_least_one() {
        let mut start = start(&[], 8);
        assert_eq!(planned(&start)[0].environment[&OsString::from("OMP_NUM_THREADS")], "1");
        start.environment.insert("OMP_NUM_THREADS".into(), "7".into());
        assert_eq!(planned(&start)[0].environment[&OsString::from("OMP_NUM_THREADS")], "7");
    }
}
