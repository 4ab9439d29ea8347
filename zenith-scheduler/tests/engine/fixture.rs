//! What the suite needs of an engine's surroundings.

use std::path::Path;
use std::sync::Arc;

use zenith_scheduler::engine::Engine;

/// An engine with nodes that run work, for as long as the test runs.
pub(crate) trait Fixture: Sized + Send {
    /// More changes than a listener may lag behind by without being told.
    const MORE_THAN_A_LAG: u32;

    /// So many nodes with so many GPUs each, ready for work; declared GPUs are enough.
    fn start(nodes: u32, gpus: u32) -> impl Future<Output = Self> + Send;

    /// The engine.
    fn engine(&self) -> Arc<dyn Engine>;

    /// A folder that work on every node can write to.
    fn folder(&self) -> &Path;

    /// The engine dies as if power had failed, and is there again, with its nodes. Work on them goes on meanwhile.
    fn crash(&mut self) -> impl Future<Output = ()> + Send;

    /// The engine loses sight of a node, on which work goes on.
    fn lose_node(&mut self, node: u32) -> impl Future<Output = ()> + Send;

    /// That node is seen again.
    fn find_node(&mut self, node: u32) -> impl Future<Output = ()> + Send;
}
