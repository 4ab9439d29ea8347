//! The GPUs of a node, as far as the agent needs them: what there is, and whether it is well. Where they come from is behind
//! [`Gpus`].

use zenith_proto::v1;

/// Where a node's GPUs come from.
pub trait Gpus: Send {
    /// What there is, by index. The same for the life of the agent.
    fn list(&self) -> Vec<v1::Gpu>;

    /// How each of them is now. May take its time: it is asked on a thread of its own.
    fn poll_health(&mut self) -> Vec<v1::GpuHealth>;
}

/// GPUs that somebody has declared: nobody looks whether they exist, and they are always well.
#[derive(Clone, Debug, Default)]
pub struct Declared(Vec<v1::Gpu>);

impl Declared {
    /// GPUs with their NUMA nodes and NVLink groups.
    #[must_use]
    pub fn new(gpus: Vec<v1::Gpu>) -> Self {
        Self(gpus)
    }

    /// So many GPUs, dealt to the NUMA nodes in order and in equal parts, all in one NVLink group.
    #[must_use]
    pub fn evenly(count: u32, numa_nodes: &[u32]) -> Self {
        let numa = |index: u32| {
            let place = index as usize * numa_nodes.len() / count as usize;
            numa_nodes.get(place).copied().unwrap_or(0)
        };
        let gpu = |index| v1::Gpu { numa: numa(index), nvlink: 0, model: "declared".to_owned() };
        Self((0..count).map(gpu).collect())
    }
}

impl Gpus for Declared {
    fn list(&self) -> Vec<v1::Gpu> {
        self.0.clone()
    }

    fn poll_health(&mut self) -> Vec<v1::GpuHealth> {
        let well = |gpu| v1::GpuHealth { gpu, healthy: true, reason: String::new() };
        (0..self.0.len() as u32).map(well).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_dealt_evenly_and_in_order() {
        let numa = |count, nodes: &[u32]| -> Vec<u32> {
            Declared::evenly(count, nodes).list().iter().map(|gpu| gpu.numa).collect()
        };
        assert_eq!(numa(8, &[0, 1]), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(numa(3, &[2, 5]), [2, 2, 5]);
        assert_eq!(numa(2, &[]), [0, 0]);
        assert_eq!(numa(0, &[0]), [0; 0]);
    }
}
