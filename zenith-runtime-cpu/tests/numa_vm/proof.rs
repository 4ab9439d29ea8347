//! Proves placement on machines with several memory nodes: run by `run.sh` beside it inside virtual machines that have them.
//!
//! Every check prints `ok` or `FAILED`; the exit status is the number of failures. It expects two packages of two
//! processors, each a memory node, 21 apart, and, with the argument 3, a third node that has only memory, 17 from node 0 and
//! 28 from node 1; on every node [`HUGE_PAGES`] free 2 MiB hugepages.
#![expect(clippy::print_stdout, reason = "its report is its product")]

use std::error::Error;
use std::process::ExitCode;

use zenith_runtime_cpu::allocator::placement::{self, Policy, Strictness};
use zenith_runtime_cpu::allocator::{
    Block, HUGE_2M, HostMemory, MemoryError, Pages, PagesWanted, SystemMemory, Wanted,
};
use zenith_runtime_cpu::buffer::{SlabPool, SlabPoolConfig};
use zenith_runtime_cpu::numa::{CpuSet, Topology};
use zenith_runtime_cpu::thread::{self, Thread, ThreadConfig, ThreadError};

/// Hugepages the machine has on each node.
const HUGE_PAGES: usize = 16;
const BYTES: usize = 8 << 20;

type Outcome = Result<String, Box<dyn Error>>;

fn main() -> ExitCode {
    let nodes: u32 = if std::env::args().nth(1).as_deref() == Some("3") { 3 } else { 2 };
    let topology = match Topology::host() {
        Ok(topology) => topology,
        Err(error) => {
            println!("FAILED topology: {error}");
            return ExitCode::FAILURE;
        }
    };
    print!("{topology}");
    let mut failures = 0_u8;
    let mut check = |name: &str, outcome: Outcome| match outcome {
        Ok(detail) => println!("ok      {name}: {detail}"),
        Err(error) => {
            println!("FAILED  {name}: {error}");
            failures += 1;
        }
    };
    check("topology", shape(&topology, nodes));
    for node in 0..nodes {
        for (wanted, pages) in [
            (PagesWanted::Heap, Pages::Heap),
            (PagesWanted::Thp, Pages::Thp),
            (PagesWanted::Huge, Pages::Huge2M),
            (PagesWanted::Auto, Pages::Huge2M),
        ] {
            let name =
                format!("{} pages bound to node {node}, touched from node {}", wanted.name(), far_from(node));
            check(&name, bound(&topology, node, wanted, pages));
        }
        if node < 2 {
            check(&format!("first touch from node {node}"), first_touch(&topology, node));
        }
        check(&format!("threads near node {node}"), threads_near(&topology, node));
        check(&format!("hugepages of node {node} used up"), hugepages_used_up(node));
        check(&format!("slab pool on node {node}"), slab_pool(node));
    }
    check("a node that does not exist", no_such_node(nodes));
    check("processors that do not exist", no_such_cpus());
    println!("{failures} failures");
    ExitCode::from(failures)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} is {got:?}, expected {expected:?}")) }
}

/// The node whose processors are far from `node`.
fn far_from(node: u32) -> u32 {
    if node == 1 { 0 } else { 1 }
}

/// The processors of `node`, or nearest to it.
fn cpus_of(node: u32) -> CpuSet {
    let node = 1 - far_from(node);
    [2 * node, 2 * node + 1].into_iter().collect()
}

/// Runs `f` on a thread pinned to the processors of `node`.
fn on_node<T: Send + 'static>(
    topology: &Topology,
    node: u32,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Box<dyn Error>> {
    let cpus = topology.cpus_near(node, 2).ok_or("no processors to pin to")?;
    expect("the set near the node", &cpus, &cpus_of(node))?;
    let config = ThreadConfig { name: format!("near {node}"), cpus: Some(cpus) };
    Ok(Thread::spawn(config, f)?.join()?)
}

fn shape(topology: &Topology, count: u32) -> Outcome {
    let packages: Vec<_> =
        topology.packages.iter().map(|package| (package.id, package.cpus.clone())).collect();
    expect("packages", &packages, &vec![(0, cpus_of(0)), (1, cpus_of(1))])?;
    let nodes: Vec<_> =
        topology.numa_nodes.iter().map(|node| (node.id, node.cpus.clone(), node.distances.clone())).collect();
    let mut expected = vec![
        (0, cpus_of(0), vec![10, 21]),
        (1, cpus_of(1), vec![21, 10]),
        (2, CpuSet::new(), vec![17, 28, 10]),
    ];
    if count == 3 {
        expected[0].2.push(17);
        expected[1].2.push(28);
    } else {
        expected.truncate(2);
    }
    expect("nodes", &nodes, &expected)?;
    for node in &topology.numa_nodes {
        if !(400 << 20..=1 << 30).contains(&node.memory_bytes) {
            return Err(format!("node {} has {} bytes", node.id, node.memory_bytes).into());
        }
    }
    expect("allowed processors", &topology.allowed_cpus, &"0-3".parse()?)?;
    expect("a set for more threads than processors", &topology.cpus_near(0, 5), &None)?;
    expect("a set for threads of both nodes", &topology.cpus_near(0, 3), &None)?;
    Ok(format!("2 packages, {count} nodes"))
}

/// A block bound to `node` lies there although a thread of the other node touches it first.
fn bound(topology: &Topology, node: u32, wanted: PagesWanted, pages: Pages) -> Outcome {
    let memory = SystemMemory { pages: wanted, node: Some(node) };
    let mut block = memory.allocate(BYTES)?;
    expect("the kind of pages", &block.pages(), &pages)?;
    expect("the node told", &block.node(), &Some(node))?;
    expect("what was refused", &block.refused(), &&[][..])?;
    let strictness = match pages {
        Pages::Huge2M => Strictness::Bind,
        _ => Strictness::Prefer,
    };
    let policy = Policy { strictness: Some(strictness), nodes: vec![node] };
    expect("get_mempolicy", &placement::policy(&block)?, &policy)?;
    block = on_node(topology, far_from(node), move || {
        block.as_mut_slice().fill(1);
        block
    })?;
    let huge = block.transparent_huge_bytes()?;
    if pages == Pages::Thp {
        expect("bytes in transparent hugepages", &huge, &BYTES)?;
    }
    all_on(&block, node)
}

fn all_on(block: &Block, node: u32) -> Outcome {
    let residency = block.resident_nodes()?;
    expect("pages nobody touched", &residency.absent, &0)?;
    expect("pages by node", &residency.pages.into_iter().collect(), &vec![(node, block.len() / 4096)])?;
    Ok(format!("{} of 4 KiB, by move_pages all on node {node}", block.len() / 4096))
}

fn first_touch(topology: &Topology, node: u32) -> Outcome {
    let memory = SystemMemory { pages: PagesWanted::Thp, node: None };
    let mut block = memory.allocate(BYTES)?;
    expect("pages before", &block.resident_nodes()?.pages.len(), &0)?;
    block = on_node(topology, node, move || {
        block.touch();
        block
    })?;
    all_on(&block, node)
}

fn threads_near(topology: &Topology, node: u32) -> Outcome {
    for _ in 0..20 {
        let (allowed, stat) = on_node(topology, node, || {
            (thread::allowed_cpus(), std::fs::read_to_string("/proc/thread-self/stat"))
        })?;
        expect("the thread's affinity", &allowed?, &cpus_of(node))?;
        // Field 39 is the processor it runs on; the name in field 2 may hold spaces, but is closed by a parenthesis.
        let stat = stat?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let cpu: u32 = fields.split_whitespace().nth(36).ok_or("stat is too short")?.parse()?;
        expect("running near the node", &cpus_of(node).contains(cpu), &true)?;
    }
    Ok(format!("20 threads on {}", cpus_of(node)))
}

/// The other node has hugepages left, so the kernel's reservation succeeds and only populating can fail.
fn hugepages_used_up(node: u32) -> Outcome {
    let memory = |pages| SystemMemory { pages, node: Some(node) };
    let all = memory(PagesWanted::Huge).allocate(HUGE_PAGES * HUGE_2M)?;
    all_on(&all, node)?;
    match memory(PagesWanted::Huge).allocate(HUGE_2M) {
        Err(MemoryError::Pages { pages: Pages::Huge2M, .. }) => {}
        other => return Err(format!("one more gave {other:?}").into()),
    }
    let mut fallback = memory(PagesWanted::Auto).allocate(BYTES)?;
    expect("the fallback", &fallback.pages(), &Pages::Thp)?;
    let refused = fallback.refused().first().ok_or("nothing says why")?.clone();
    expect("what was refused", &refused.wanted, &Wanted::Pages(Pages::Huge2M))?;
    fallback.touch();
    all_on(&fallback, node)?;
    drop(all);
    let again = memory(PagesWanted::Huge).allocate(HUGE_PAGES * HUGE_2M)?;
    all_on(&again, node)?;
    Ok(format!("error when strict, else transparent hugepages ({refused}); free again after drop"))
}

fn slab_pool(node: u32) -> Outcome {
    let pool = SlabPool::new(SlabPoolConfig {
        slab_bytes: BYTES,
        keep: 2,
        pages: PagesWanted::Auto,
        node: Some(node),
    })?;
    let (mut lease, other) = (pool.lease()?, pool.lease()?);
    // Touched first by this thread, wherever it runs: the placement is the pool's.
    lease.as_mut_slice().fill(1);
    let detail = all_on(lease.memory(), node)?;
    drop((lease, other));
    let stats = pool.stats();
    expect("slabs obtained", &stats.mapped_total, &2)?;
    Ok(format!("{} slabs of {}, {detail}", stats.mapped, stats.pages))
}

fn no_such_node(node: u32) -> Outcome {
    let memory = SystemMemory { pages: PagesWanted::Auto, node: Some(node) };
    match memory.allocate(BYTES) {
        Err(error @ MemoryError::Node { node: named, .. }) if named == node => Ok(error.to_string()),
        other => Err(format!("{other:?}").into()),
    }
}

fn no_such_cpus() -> Outcome {
    let config = ThreadConfig { name: "nowhere".to_owned(), cpus: Some("4-7".parse()?) };
    match Thread::spawn(config, || ()) {
        Err(error @ ThreadError::Pin { .. }) => Ok(error.to_string()),
        other => Err(format!("{other:?}").into()),
    }
}
