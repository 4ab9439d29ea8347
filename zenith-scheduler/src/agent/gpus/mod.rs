//! The GPUs of a node, as far as the agent needs them: what there is, and whether it is well. Where they come from is behind
//! [`Gpus`]; what becomes of the list when an agent returns to running work is `kept`'s.

mod devices;
mod kept;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use zenith_proto::v1;

pub use devices::Devices;
pub(crate) use kept::{Chosen, Kept};

/// Where a node's GPUs come from.
pub trait Gpus: Send {
    /// Says what there is, once, and then how it is, until it is not wanted any more. It has a thread of its own for that, since
    /// a driver may take its time or hang.
    fn run(self: Box<Self>, teller: Teller);
}

/// A GPU to hand out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Whose software drives it.
    pub family: Family,
    /// Its number there.
    pub number: u32,
    /// The identity that stays with it; `None` where it has none, or did not answer.
    pub uuid: Option<String>,
    /// The NUMA node it hangs on; `None` where that is not known.
    pub numa: Option<u32>,
    /// The group of GPUs that have links of their own between them.
    pub nvlink: u32,
    /// Its name, for people.
    pub model: String,
    /// Its memory in MiB; `None` where that is not known.
    pub memory_mib: Option<u64>,
}

/// By whose software a GPU is driven, and so by which variables a process is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Somebody said that there is one, and nobody looked.
    Declared,
    /// NVIDIA's; the number is NVML's.
    Nvidia,
    /// AMD's; the number is its place by PCI address.
    Amd,
}

impl From<&Gpu> for v1::Gpu {
    fn from(gpu: &Gpu) -> Self {
        let Gpu { numa, nvlink, model, memory_mib, .. } = gpu;
        Self { numa: numa.unwrap_or(0), nvlink: *nvlink, model: model.clone(), memory_mib: *memory_mib }
    }
}

/// What GPUs are told of to.
#[derive(Debug)]
pub struct Teller {
    list: Option<oneshot::Sender<Vec<Gpu>>>,
    health: watch::Sender<Vec<v1::GpuHealth>>,
}

/// Where what is told arrives.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) list: oneshot::Receiver<Vec<Gpu>>,
    pub(crate) health: watch::Receiver<Vec<v1::GpuHealth>>,
}

impl Teller {
    pub(crate) fn new() -> (Self, Heard) {
        let (list, listed) = oneshot::channel();
        let (health, told) = watch::channel(Vec::new());
        (Self { list: Some(list), health }, Heard { list: listed, health: told })
    }

    /// Says what there is, by index. False where that came too late, or is not wanted any more.
    pub fn list(&mut self, gpus: Vec<Gpu>) -> bool {
        self.list.take().is_some_and(|list| list.send(gpus).is_ok())
    }

    /// Says how all of them are now, by index in the list. False where nobody wants to know any more.
    pub fn health(&self, now: Vec<v1::GpuHealth>) -> bool {
        self.health.send(now).is_ok()
    }
}

/// GPUs that somebody has declared: nobody looks whether they exist, and they are always well.
#[derive(Clone, Debug, Default)]
pub struct Declared(Vec<Gpu>);

impl Declared {
    /// So many GPUs, dealt to the NUMA nodes in order and in equal parts, all in one NVLink group.
    #[must_use]
    pub fn evenly(count: u32, numa_nodes: &[u32]) -> Self {
        let numa = |index: u32| {
            let place = index as usize * numa_nodes.len() / count as usize;
            numa_nodes.get(place).copied().unwrap_or(0)
        };
        let gpu = |index| Gpu {
            family: Family::Declared,
            number: index,
            uuid: None,
            numa: Some(numa(index)),
            nvlink: 0,
            model: "declared".to_owned(),
            memory_mib: None,
        };
        Self((0..count).map(gpu).collect())
    }

    /// The same, with the NUMA nodes and NVLink groups that are given, from the first GPU on.
    #[must_use]
    pub fn with_places(mut self, numa: &[u32], nvlink: &[u32]) -> Self {
        self.0.iter_mut().zip(numa).for_each(|(gpu, numa)| gpu.numa = Some(*numa));
        self.0.iter_mut().zip(nvlink).for_each(|(gpu, group)| gpu.nvlink = *group);
        self
    }
}

impl Gpus for Declared {
    fn run(self: Box<Self>, mut teller: Teller) {
        let well = |gpu| v1::GpuHealth { gpu, healthy: true, ..Default::default() };
        let health = (0..self.0.len() as u32).map(well).collect();
        if teller.list(self.0) {
            teller.health(health);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_dealt_evenly_and_in_order() {
        let numa = |count, nodes: &[u32]| -> Vec<u32> {
            Declared::evenly(count, nodes).0.iter().filter_map(|gpu| gpu.numa).collect()
        };
        assert_eq!(numa(8, &[0, 1]), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(numa(3, &[2, 5]), [2, 2, 5]);
        assert_eq!(numa(2, &[]), [0, 0]);
        assert_eq!(numa(0, &[0]), [0; 0]);
    }

    #[test]
    fn what_is_declared_is_told_and_well() {
        let (teller, heard) = Teller::new();
        let places: Vec<(Option<u32>, u32)> = {
            Box::new(Declared::evenly(2, &[0]).with_places(&[1, 0], &[4, 5])).run(teller);
            let mut list = heard.list;
            list.try_recv().unwrap().iter().map(|gpu| (gpu.numa, gpu.nvlink)).collect()
        };
        assert_eq!(places, [(Some(1), 4), (Some(0), 5)]);
        let told = heard.health.borrow();
        assert_eq!(told.iter().map(|gpu| (gpu.gpu, gpu.healthy)).collect::<Vec<_>>(), [(0, true), (1, true)]);
    }
}
