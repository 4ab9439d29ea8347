//! Device memory, page-locked memory, events.

use std::sync::Arc;
use std::time::Duration;

use zenith_fakecuda::Script;
use zenith_runtime_cpu::allocator::{HostMemory, MemoryError, SystemMemory};
use zenith_runtime_cpu::buffer::SlabPool;
use zenith_runtime_gpu::cuda::{DeviceMemory, Error, Event, HostBytes, LockedMemory, PinnedMemory, Upload};

use crate::Machine;

#[test]
fn memory_runs_out_with_what_was_free_and_comes_back() {
    let machine = Machine::new(&Script::default());
    let context = machine.context();
    let held = DeviceMemory::new(&context, 60 << 20).unwrap();
    assert_eq!(context.memory().unwrap(), (4 << 20, 64 << 20));
    let error = DeviceMemory::new(&context, 5 << 20).unwrap_err();
    assert_eq!(error, Error::OutOfDeviceMemory { bytes: 5 << 20, free: 4 << 20 });
    drop(held);
    drop(DeviceMemory::new(&context, 64 << 20).unwrap());
    drop(context);
    machine.is_empty();
}

#[test]
fn bytes_go_there_and_back() {
    let machine = Machine::new(&Script::default());
    let stream = machine.stream();
    let mut host = PinnedMemory::new(stream.context(), 1 << 20).unwrap();
    assert!(host.as_slice().iter().all(|&byte| byte == 0));
    for (at, byte) in host.as_mut_slice().iter_mut().enumerate() {
        *byte = (at % 251) as u8;
    }
    let expected = host.as_slice().to_vec();
    let device = Arc::new(DeviceMemory::new(stream.context(), 2 << 20).unwrap());
    let upload = Upload::begin(&stream, host, Arc::clone(&device)).unwrap();
    assert!(
        !upload.done().is_reached().unwrap(),
        "1 MiB takes 21 virtual microseconds, and two calls take two"
    );
    let host = upload.wait().unwrap();
    assert_eq!(stream.download(&device, 1 << 20).unwrap(), expected);
    assert!(stream.is_idle().unwrap());
    assert!(matches!(stream.download(&device, 3 << 20), Err(Error::OutOfRange { .. })));
    let small = Arc::new(DeviceMemory::new(stream.context(), 100).unwrap());
    assert!(matches!(Upload::begin(&stream, host, small), Err(Error::OutOfRange { end: 1_048_576, .. })));
}

#[test]
fn page_locked_memory_is_as_fast_as_the_model_says_and_pageable_is_slower() {
    let machine = Machine::new(&Script { call_ns: 0, ..Script::default() });
    let stream = machine.stream();
    let device = Arc::new(DeviceMemory::new(stream.context(), 1 << 20).unwrap());
    let (before, after) = (Event::timed(stream.context()).unwrap(), Event::timed(stream.context()).unwrap());
    let time_of = |locked: bool| {
        before.record(&stream).unwrap();
        if locked {
            let host = PinnedMemory::new(stream.context(), 1_000_000).unwrap();
            drop(Upload::begin(&stream, host, Arc::clone(&device)).unwrap());
        } else {
            drop(Upload::begin(&stream, vec![1; 1_000_000], Arc::clone(&device)).unwrap());
        }
        after.record(&stream).unwrap();
        stream.synchronize().unwrap();
        after.since(&before).unwrap().unwrap()
    };
    let (fast, slow) = (time_of(true), time_of(false));
    assert_eq!((fast, slow), (Duration::from_micros(20), Duration::from_micros(80)));
    let untimed = Event::new(stream.context()).unwrap();
    assert_eq!(after.since(&untimed).unwrap(), None);
}

#[test]
fn slabs_are_page_locked_until_they_are_freed() {
    let machine = Machine::new(&Script::default());
    let memory = LockedMemory { context: machine.context(), memory: SystemMemory::default() };
    assert!(memory.describe().contains("page-locked"));
    let pool = SlabPool::with_memory(Box::new(memory), 3 << 20, 2).unwrap();
    let leases: Vec<_> = (0..4).map(|_| pool.lease().unwrap()).collect();
    assert_eq!(machine.census().registered, 4);
    drop(leases);
    assert_eq!(machine.census().registered, 2, "what the pool does not keep is unlocked");
    let lease = Arc::new(pool.lease().unwrap());
    assert_eq!(lease.bytes().len(), 3 << 20);
    drop(pool);
    assert_eq!(machine.census().registered, 1);
    drop(lease);
    machine.is_empty();
}

#[test]
fn memory_that_cannot_be_page_locked_is_an_error_and_no_pageable_memory() {
    let machine = Machine::new(&Script { register: 800, host_alloc: 2, ..Script::default() });
    let memory = LockedMemory { context: machine.context(), memory: SystemMemory::default() };
    let error = memory.allocate(1 << 20).unwrap_err();
    assert!(
        matches!(&error, MemoryError::Locked { bytes: 1_048_576, reason } if reason.contains("ulimit -l")),
        "{error}"
    );
    let error = PinnedMemory::new(&memory.context, 100).unwrap_err();
    assert!(matches!(error, Error::NotLocked { bytes: 100, .. }), "{error}");
    drop(memory);
    machine.is_empty();
}
