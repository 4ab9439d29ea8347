//! What is kept comes back: after a restart, after a snapshot, after a disk that refused. Nothing that was refused comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses its part of it")]
mod world;

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use proptest::prelude::*;
use redb::{Database, StorageBackend};
use world::World;
use zenith_scheduler::core::job::Exit;
use zenith_scheduler::core::{Core, Submission};
use zenith_scheduler::policy::Policy;
use zenith_scheduler::store::{Store, StoreError};

/// The durable state as text.
fn text(core: &Core) -> String {
    serde_json::to_string(core.ledger()).unwrap()
}

/// A life with some of everything, in steps that are each written down.
fn life(world: &mut World, store: &mut Store, steps: &[u8]) {
    for step in steps {
        match step % 5 {
            0 => {
                world.gpus(u32::from(step % 7) + 1);
            }
            1 => world.settle(),
            2 => world.later(zenith_scheduler::core::Span::from_secs(u64::from(*step))),
            3 => {
                let placed = world.core.jobs().find(|job| job.gang.is_some()).map(|job| job.id);
                placed.into_iter().for_each(|job| world.exit(job, Exit::Code(i32::from(step % 2))));
            }
            _ => {
                world.submit(Submission { key: format!("k{step}"), count: 3, ..Submission::default() });
            }
        }
        store.append(&std::mem::take(&mut world.journal.events)).unwrap();
    }
}

fn opened(path: &Path) -> (Store, World) {
    let (mut store, core) = Store::open(path, Policy::default()).unwrap();
    let mut world = World::new(3, 8, Policy::default());
    if core.cluster().nodes().is_empty() {
        store.append(&std::mem::take(&mut world.journal.events)).unwrap();
    } else {
        world.core = core;
        world.journal.events.clear();
    }
    (store, world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restart_changes_nothing(before: Vec<u8>, after: Vec<u8>, snapshot: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let (mut store, mut world) = opened(&path);
        life(&mut world, &mut store, &before);
        if snapshot {
            let events = store.snapshotter(world.core.ledger().clone()).unwrap().write().unwrap();
            store.snapshot_written(events);
            prop_assert_eq!(store.since_snapshot(), 0);
        }
        life(&mut world, &mut store, &after);
        let kept = text(&world.core);
        drop(store);
        let (_, core) = Store::open(&path, Policy::default()).unwrap();
        prop_assert_eq!(text(&core), kept);
    }
}

#[test]
fn keys_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (mut store, mut world) = opened(&path);
    let job = world.submit(Submission { user: "ada".into(), key: "k".into(), ..Submission::default() });
    store.append(&std::mem::take(&mut world.journal.events)).unwrap();
    let events = store.snapshotter(world.core.ledger().clone()).unwrap().write().unwrap();
    store.snapshot_written(events);
    drop(store);
    let (_, core) = Store::open(&path, Policy::default()).unwrap();
    assert_eq!(core.by_key("ada", "k"), Some(job));
    assert_eq!(core.by_key("bob", "k"), None);
}

#[test]
fn two_schedulers_cannot_share_a_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (_store, _) = Store::open(&path, Policy::default()).unwrap();
    assert!(matches!(Store::open(&path, Policy::default()), Err(StoreError::InUse { .. })));
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let other = b"my thesis, the only copy".repeat(400);
    std::fs::write(&path, &other).unwrap();
    assert!(matches!(Store::open(&path, Policy::default()), Err(StoreError::Database { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), other);
}

/// A disk that can be full, and that tears what is written when it becomes so.
#[derive(Debug)]
struct Disk {
    file: redb::backends::FileBackend,
    /// Bytes that may still be written.
    budget: Arc<AtomicI64>,
    closed: AtomicBool,
}

impl Disk {
    fn spend(&self, bytes: usize) -> Result<(), Error> {
        let bytes = i64::try_from(bytes).unwrap();
        if self.budget.fetch_sub(bytes, Ordering::Relaxed) < bytes {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        if len > self.file.len()? {
            self.spend(0)?;
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        if let Err(error) = self.spend(data.len()) {
            self.file.write(offset, &data[..data.len() / 2])?;
            return Err(error);
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), Error> {
        assert!(!self.closed.swap(true, Ordering::Relaxed));
        self.file.close()
    }
}

#[test]
fn a_full_disk_loses_nothing_and_takes_work_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let budget = Arc::new(AtomicI64::new(i64::MAX));
    let opener = {
        let (path, budget) = (path.clone(), Arc::clone(&budget));
        move || {
            let file =
                std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = redb::backends::FileBackend::new(file?)?;
            let disk = Disk { file, budget: Arc::clone(&budget), closed: AtomicBool::new(false) };
            Ok(Database::builder().create_with_backend(disk)?)
        }
    };
    let (mut store, _) = Store::open_with(Box::new(opener), &path, Policy::default()).unwrap();
    let mut world = World::new(2, 8, Policy::default());
    store.append(&std::mem::take(&mut world.journal.events)).unwrap();
    let mut refused = 0;
    for round in 0..60_i64 {
        let kept = text(&world.core);
        world.gpus(1);
        let wanted = store.events() + world.journal.events.len() as u64;
        budget.store(round * 700, Ordering::Relaxed);
        match store.append(&std::mem::take(&mut world.journal.events)) {
            Ok(()) => budget.store(i64::MAX, Ordering::Relaxed),
            Err(error) => {
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
                refused += 1;
                budget.store(i64::MAX, Ordering::Relaxed);
                let new = text(&world.core);
                world.core = store.reopen(Policy::default()).unwrap();
                let wanted = if store.events() == wanted { new } else { kept };
                assert!(text(&world.core) == wanted, "in round {round}");
            }
        }
    }
    assert!((1..60).contains(&refused), "{refused} of 60 were refused");
    let kept = text(&world.core);
    assert_eq!(text(&store.reopen(Policy::default()).unwrap()), kept);
}
