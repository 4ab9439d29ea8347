//! From what the controller sends to what each process gets: environment, GPUs, processors. Pure: knows no disk, no process
//! and no clock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zenith_proto::v1;

use crate::agent::gpus::{Family, Gpu};
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
    /// What there is to know of each GPU.
    pub(crate) gpus: Vec<Place>,
}

/// A GPU as far as processes are fitted to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) family: Family,
    pub(crate) number: u32,
    pub(crate) uuid: Option<String>,
    /// Its NUMA node; none where that is not known.
    pub(crate) numa: Option<u32>,
}

impl From<&Gpu> for Place {
    fn from(gpu: &Gpu) -> Self {
        Self { family: gpu.family, number: gpu.number, uuid: gpu.uuid.clone(), numa: gpu.numa }
    }
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
    let memory_nodes = nodes_of(gpus, machine);
    let of_nodes = machine.numa.iter().filter(|node| memory_nodes.contains(&node.id));
    let cpus: Vec<u32> = of_nodes.flat_map(|node| node.cpus.clone()).collect();
    let mut threads = (slice.cpus / start.local_ranks.max(1)).max(1);
    if !cpus.is_empty() {
        // Threads beyond the processors that it is bound to would only take turns.
        threads = threads.min(cpus.len() as u32);
    }
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
    for (name, value) in visible(gpus, machine) {
        set(name, value.into());
    }
    set("ZENITH_JOB_ID", start.job.to_string().into());
    set("ZENITH_JOB_NAME", (&start.name).into());
    set("ZENITH_ARRAY_INDEX", start.job.saturating_sub(start.first).to_string().into());
    set("ZENITH_ATTEMPT", start.attempt.to_string().into());
    set("ZENITH_RESTART_COUNT", start.restarts.to_string().into());
    set("ZENITH_CHECKPOINT_DIR", layout.checkpoint(start.job).into());
    set("ZENITH_NODE_NAME", (&machine.name).into());
    set(MARK, mark(&layout.run(key)));
    RankPlan { rank, environment, cpus, memory_nodes }
}

/// The variables that show a process its GPUs and no others.
fn visible(gpus: &[u32], machine: &Machine) -> Vec<(&'static str, String)> {
    let places: Vec<&Place> = gpus.iter().filter_map(|gpu| machine.gpus.get(*gpu as usize)).collect();
    let node_has = |family| machine.gpus.iter().any(|place| place.family == family);
    let of = |family| places.iter().filter(move |place| place.family == family);
    let joined = |names: Vec<String>| names.join(",");
    let mut variables = Vec::new();
    if node_has(Family::Nvidia) {
        // Beside a GPU that does not answer it is not sure what CUDA counts, so there names are safer than numbers.
        let silent = machine.gpus.iter().any(|place| place.family == Family::Nvidia && place.uuid.is_none());
        let name = |place: &&Place| match &place.uuid {
            Some(uuid) if silent => uuid.clone(),
            _ => place.number.to_string(),
        };
        variables.push(("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned()));
        variables.push(("CUDA_VISIBLE_DEVICES", joined(of(Family::Nvidia).map(name).collect())));
    } else {
        let declared = gpus.iter().filter(|gpu| {
            let place = machine.gpus.get(**gpu as usize);
            place.is_none_or(|place| place.family == Family::Declared)
        });
        variables.push(("CUDA_VISIBLE_DEVICES", joined(declared.map(u32::to_string).collect())));
    }
    if node_has(Family::Amd) {
        // What HIP counts is what ROCr lets it see.
        let name = |place: &&Place| match &place.uuid {
            Some(uuid) => format!("GPU-{uuid}"),
            None => place.number.to_string(),
        };
        let names: Vec<String> = of(Family::Amd).map(name).collect();
        variables
            .push(("HIP_VISIBLE_DEVICES", joined((0..names.len()).map(|hip| hip.to_string()).collect())));
        variables.push(("ROCR_VISIBLE_DEVICES", joined(names)));
    }
    variables
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
    let node = |gpu: &u32| machine.gpus.get(*gpu as usize).and_then(|place| place.numa).filter(known);
    let Some(mut nodes) = gpus.iter().map(node).collect::<Option<Vec<u32>>>() else { return Vec::new() };
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn machine() -> Machine {
        let numa = |id, cpus: &[u32]| NumaNode { id, cpus: cpus.to_vec() };
        let gpu = |number| place(Family::Declared, number, None);
        Machine {
            name: "n1".into(),
            numa: vec![numa(0, &[0, 1]), numa(1, &[2, 3])],
            gpus: (0..4).map(gpu).collect(),
        }
    }

    /// Two at each NUMA node.
    fn place(family: Family, number: u32, uuid: Option<&str>) -> Place {
        Place { family, number, uuid: uuid.map(str::to_owned), numa: Some(number / 2 % 2) }
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
    fn threads_fit_the_processors_that_a_rank_is_bound_to() {
        let threads = |gpus: &[u32], ranks| {
            planned(&start(gpus, ranks))[0].environment[OsStr::new("OMP_NUM_THREADS")].clone()
        };
        assert_eq!(threads(&[0], 1), "2", "six processors are held, and its node has two");
        assert_eq!(threads(&[0, 3], 1), "4");
        assert_eq!(threads(&[], 1), "6");
    }

    #[test]
    fn a_machine_with_one_numa_node_binds_nobody() {
        let one = Machine { numa: vec![NumaNode { id: 0, cpus: vec![0, 1] }], ..machine() };
        let plan = ranks(&start(&[0], 1), &one, &Layout::new(Path::new("/s")), std::iter::empty());
        assert_eq!((plan[0].cpus.len(), plan[0].memory_nodes.len()), (0, 0));
        let mut unknown = machine();
        unknown.gpus[0].numa = None;
        let plan = ranks(&start(&[0], 1), &unknown, &Layout::new(Path::new("/s")), std::iter::empty());
        assert_eq!(plan[0].cpus, [0; 0], "nobody knows where that GPU is");
    }

    #[test]
    fn gpus_are_shown_by_what_their_own_software_calls_them() {
        let shown = |gpus: &[u32], places: &[Place]| {
            let machine = Machine { gpus: places.to_vec(), ..machine() };
            visible(gpus, &machine).iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let nvidia = |number, uuid| place(Family::Nvidia, number, uuid);
        let order = "CUDA_DEVICE_ORDER=PCI_BUS_ID";
        let sound = [nvidia(0, Some("GPU-a")), nvidia(1, Some("GPU-b")), nvidia(2, Some("GPU-c"))];
        assert_eq!(shown(&[0, 2], &sound), [order, "CUDA_VISIBLE_DEVICES=0,2"]);
        let silent = [nvidia(0, Some("GPU-a")), nvidia(1, None), nvidia(2, Some("GPU-c"))];
        assert_eq!(shown(&[0, 2], &silent), [order, "CUDA_VISIBLE_DEVICES=GPU-a,GPU-c"]);
        let amd = [place(Family::Amd, 0, Some("12ab")), place(Family::Amd, 1, None)];
        assert_eq!(
            shown(&[0, 1], &amd),
            ["CUDA_VISIBLE_DEVICES=", "HIP_VISIBLE_DEVICES=0,1", "ROCR_VISIBLE_DEVICES=GPU-12ab,1"]
        );
        let both = [nvidia(0, Some("GPU-a")), place(Family::Amd, 0, Some("12ab"))];
        assert_eq!(
            shown(&[1], &both),
            [order, "CUDA_VISIBLE_DEVICES=", "HIP_VISIBLE_DEVICES=0", "ROCR_VISIBLE_DEVICES=GPU-12ab"]
        );
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
