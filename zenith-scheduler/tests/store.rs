//! What is kept comes back: after a restart, after a snapshot, after a disk that refused. Nothing that was refused comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses its part of it")]
mod world;

mod disk;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use disk::limited;
use proptest::prelude::*;
use redb::Database;
use world::World;
use zenith_scheduler::core::job::Exit;
use zenith_scheduler::core::{Core, Event, Submission};
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
            let events = store.snapshotter(world.core.ledger().clone()).write(0).unwrap();
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
    let events = store.snapshotter(world.core.ledger().clone()).write(0).unwrap();
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

#[test]
fn a_full_disk_loses_nothing_and_takes_work_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let budget = Arc::new(AtomicI64::new(i64::MAX));
    let (mut store, _) = Store::open_with(limited(&path, &budget), &path, Policy::default()).unwrap();
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

fn beside(path: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", path.display()).into()
}

#[test]
fn a_snapshot_that_finds_no_room_leaves_the_journal_and_the_disk_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (mut store, mut world) = opened(&path);
    let write =
        |store: &Store, world: &World, spare| store.snapshotter(world.core.ledger().clone()).write(spare);
    life(&mut world, &mut store, &[4, 5, 1, 9, 3]);
    let first = write(&store, &world, 0).unwrap();
    store.snapshot_written(first);
    life(&mut world, &mut store, &[4, 5, 1, 9, 3]);
    let is_full = |outcome| matches!(outcome, Err(StoreError::Full { .. }));
    assert!(is_full(write(&store, &world, u64::MAX)), "there is less room than is to be left");
    life(&mut world, &mut store, &[0, 1, 4]);
    assert!(!beside(&path, ".snapshot-partial").exists());
    let kept = text(&world.core);
    drop(store);
    let (store, core) = Store::open(&path, Policy::default()).unwrap();
    assert_eq!((text(&core), store.events() - store.since_snapshot()), (kept, first));
}

#[test]
fn the_disk_that_is_full_for_a_snapshot_takes_reports() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let budget = Arc::new(AtomicI64::new(i64::MAX));
    let (mut store, _) = Store::open_with(limited(&path, &budget), &path, Policy::default()).unwrap();
    let mut world = World::new(2, 8, Policy::default());
    store.append(&std::mem::take(&mut world.journal.events)).unwrap();
    life(&mut world, &mut store, &[4, 5, 1, 9, 3]);
    // What is in the way of the snapshot's file is in the way of nothing else.
    std::fs::create_dir(beside(&path, ".snapshot-partial")).unwrap();
    budget.store(0, Ordering::Relaxed);
    assert!(store.snapshotter(world.core.ledger().clone()).write(0).is_err());
    budget.store(i64::MAX, Ordering::Relaxed);
    life(&mut world, &mut store, &[0, 1, 4]);
    std::fs::remove_dir(beside(&path, ".snapshot-partial")).unwrap();
    assert_eq!(text(&store.reopen(Policy::default()).unwrap()), text(&world.core));
}

#[test]
fn a_snapshot_that_was_not_finished_is_removed_and_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (mut store, mut world) = opened(&path);
    life(&mut world, &mut store, &[4, 5, 1]);
    drop(store);
    std::fs::write(beside(&path, ".snapshot-partial"), b"half of it").unwrap();
    let (_store, core) = Store::open(&path, Policy::default()).unwrap();
    assert_eq!(text(&core), text(&world.core));
    assert!(!beside(&path, ".snapshot-partial").exists());
}

#[test]
fn a_database_without_its_snapshot_or_with_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (mut store, mut world) = opened(&path);
    life(&mut world, &mut store, &[4, 5, 1, 0, 9]);
    let events = store.snapshotter(world.core.ledger().clone()).write(0).unwrap();
    store.snapshot_written(events);
    life(&mut world, &mut store, &[0, 1]);
    drop(store);
    let snapshot = beside(&path, ".snapshot");
    let mut bytes = std::fs::read(&snapshot).unwrap();
    std::fs::remove_file(&snapshot).unwrap();
    assert!(matches!(Store::open(&path, Policy::default()), Err(StoreError::Missing { .. })));
    let beside_database = dir.path().join("elsewhere.redb");
    std::fs::write(beside(&beside_database, ".snapshot"), &bytes).unwrap();
    assert!(matches!(Store::open(&beside_database, Policy::default()), Err(StoreError::Alone { .. })));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&snapshot, &bytes).unwrap();
    assert!(matches!(Store::open(&path, Policy::default()), Err(StoreError::Damaged { .. })));
    bytes[middle] ^= 1;
    std::fs::write(&snapshot, &bytes).unwrap();
    let (_, core) = Store::open(&path, Policy::default()).unwrap();
    assert_eq!(text(&core), text(&world.core));
}

#[test]
fn what_is_kept_is_for_this_users_eyes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (mut store, mut world) = opened(&path);
    life(&mut world, &mut store, &[4]);
    store.snapshotter(world.core.ledger().clone()).write(0).unwrap();
    assert_eq!((mode(&path), mode(&beside(&path, ".snapshot"))), (0o600, 0o600));
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = Store::open(&path, Policy::default()).unwrap();
    assert_eq!(mode(&path), 0o600);
}

/// The journal of a store as the first layout had it: where gangs meet was not written down.
fn first_layout(path: &Path, events: &[Event]) {
    let events: Vec<serde_json::Value> = events
        .iter()
        .map(|event| {
            let mut event = serde_json::to_value(event).unwrap();
            let change = event["change"].as_object_mut().unwrap();
            change.remove("meeting");
            if let Some(spec) = change.get_mut("spec") {
                spec.as_object_mut().unwrap().remove("address");
            }
            event
        })
        .collect();
    let db = Database::create(path).unwrap();
    let write = db.begin_write().unwrap();
    let table = |name| redb::TableDefinition::<u64, &[u8]>::new(name);
    let entry = rmp_serde::to_vec_named(&events).unwrap();
    write.open_table(table("events")).unwrap().insert(0, entry.as_slice()).unwrap();
    let facts = redb::TableDefinition::<&str, u64>::new("facts");
    for (fact, value) in [("layout", 1), ("snapshot", 0)] {
        write.open_table(facts).unwrap().insert(fact, value).unwrap();
    }
    write.commit().unwrap();
}

#[test]
fn a_store_of_the_first_layout_is_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let mut world = World::new(2, 8, Policy::default());
    let job = world.gpus(12);
    world.settle();
    first_layout(&path, &world.journal.events);
    let (mut store, core) = Store::open(&path, Policy::default()).unwrap();
    let gang = |core: &Core| core.job(job).unwrap().gang.clone().unwrap();
    assert_eq!(gang(&core).placement, gang(&world.core).placement);
    assert_eq!((gang(&core).meeting, gang(&world.core).meeting.is_some()), (None, true));
    world.core = core;
    world.journal.events.clear();
    life(&mut world, &mut store, &[0, 1, 4]);
    drop(store);
    let (_, core) = Store::open(&path, Policy::default()).unwrap();
    assert_eq!(text(&core), text(&world.core));
}
