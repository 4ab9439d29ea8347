//! Batches to a device: order, back-pressure, errors in their place, and that nothing is left behind.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use zenith_fakecuda::{Fault, Script};
use zenith_runtime_cpu::allocator::SystemMemory;
use zenith_runtime_cpu::buffer::{Lease, SlabPool};
use zenith_runtime_gpu::cuda::{Code, Error as CudaError, LockedMemory, PinnedMemory, Stream};
use zenith_runtime_gpu::transfer::{Delivered, Error, Transfer};

use crate::Machine;

const BYTES: usize = 1 << 20;

/// A batch that is full of its number.
fn batch(stream: &Stream, number: usize) -> PinnedMemory {
    let mut host = PinnedMemory::new(stream.context(), BYTES).unwrap();
    host.as_mut_slice().fill(number as u8);
    host
}

fn number(stream: &Stream, delivered: &Delivered) -> u8 {
    let bytes = stream.download(delivered.memory(), delivered.len()).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a batch that is of two");
    bytes[0]
}

#[test]
fn batches_arrive_in_order_and_the_source_ends() {
    let machine = Machine::new(&Script::default());
    let stream = machine.stream();
    let of = Arc::clone(&stream);
    let source = (1..=20).map(move |number| Ok::<_, String>(batch(&of, number)));
    let mut transfer = Transfer::new(stream.context(), source, 3, BYTES).unwrap();
    for expected in 1..=20 {
        let delivered = transfer.next(&stream).unwrap().unwrap();
        assert_eq!((number(&stream, &delivered), delivered.len()), (expected, BYTES));
    }
    for _ in 0..3 {
        assert!(transfer.next(&stream).unwrap().is_none());
    }
    drop((transfer, stream));
    machine.is_empty();
}

/// The device is slow and the host never waits: a slab that came back before its copy had run would be filled with the
/// next batch's number, and arrive with it.
#[test]
fn no_slab_is_used_again_before_its_copy_has_run() {
    let machine = Machine::new(&Script { call_ns: 1, ..Script::default() });
    let stream = machine.stream();
    let memory = LockedMemory { context: machine.context(), memory: SystemMemory::default() };
    let pool = SlabPool::with_memory(Box::new(memory), BYTES, 8).unwrap();
    let slabs = pool.clone();
    let source = (0..40_u8).map(move |number| {
        let mut lease: Lease = slabs.lease().unwrap();
        lease.as_mut_slice().fill(number);
        Ok::<_, String>(Arc::new(lease))
    });
    let mut transfer = Transfer::new(stream.context(), source, 2, BYTES).unwrap();
    let mut arrived = Vec::new();
    while let Some(delivered) = transfer.next(&stream).unwrap() {
        // On the consumer's stream, as its kernels would: it was told to wait, the host was not.
        arrived.push(number(&stream, &delivered));
        assert!(pool.stats().leased <= 2 * 2, "{:?}", pool.stats());
    }
    assert_eq!(arrived, (0..40).collect::<Vec<u8>>());
    drop((transfer, pool, stream));
    machine.is_empty();
}

#[test]
fn the_source_is_asked_for_no_more_than_there_are_slots() {
    let machine = Machine::new(&Script::default());
    let stream = machine.stream();
    let asked = Rc::new(Cell::new(0));
    let (count, of) = (Rc::clone(&asked), Arc::clone(&stream));
    let source = (1..).map(move |number| {
        count.set(number);
        Ok::<_, String>(batch(&of, number))
    });
    let mut transfer = Transfer::new(stream.context(), source, 3, BYTES).unwrap();
    assert_eq!(asked.get(), 0, "nothing is asked before a batch is");
    let first = transfer.next(&stream).unwrap().unwrap();
    assert_eq!((asked.get(), transfer.ahead()), (3, 2));
    let held: Vec<_> = (0..2).map(|_| transfer.next(&stream).unwrap().unwrap()).collect();
    assert_eq!(asked.get(), 3);
    assert_eq!(transfer.next(&stream).unwrap_err(), Error::AllHeld { slots: 3 });
    drop(first);
    assert_eq!(number(&stream, &transfer.next(&stream).unwrap().unwrap()), 4);
    drop((held, transfer, stream));
    machine.is_empty();
}

#[test]
fn errors_of_the_source_come_in_their_turn() {
    let machine = Machine::new(&Script::default());
    let stream = machine.stream();
    let of = Arc::clone(&stream);
    let source =
        (1..=6).map(
            move |number| {
                if number % 3 == 0 { Err(format!("bad {number}")) } else { Ok(batch(&of, number)) }
            },
        );
    let mut transfer = Transfer::new(stream.context(), source, 2, BYTES).unwrap();
    let mut told = Vec::new();
    loop {
        match transfer.next(&stream) {
            Ok(Some(delivered)) => told.push(number(&stream, &delivered).to_string()),
            Ok(None) => break,
            Err(Error::Source(error)) => told.push(error),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(told, ["1", "2", "bad 3", "4", "5", "bad 6"]);
}

#[test]
fn a_batch_that_is_too_large_is_an_error_of_its_own() {
    let machine = Machine::new(&Script::default());
    let stream = machine.stream();
    let source = [100, 101, 99].into_iter().map(|bytes| Ok::<_, String>(vec![7; bytes]));
    let mut transfer = Transfer::new(stream.context(), source, 2, 100).unwrap();
    assert_eq!(transfer.next(&stream).unwrap().unwrap().len(), 100);
    assert_eq!(transfer.next(&stream).unwrap_err(), Error::TooLarge { bytes: 101, slot: 100 });
    assert_eq!(transfer.next(&stream).unwrap().unwrap().len(), 99);
    assert!(transfer.next(&stream).unwrap().is_none());
}

#[test]
fn a_copy_that_is_refused_is_one_batch_and_a_broken_device_is_all() {
    let faults = vec![Fault::Refused { copy: 1, code: 801 }, Fault::Breaks { copy: 3, code: 719 }];
    let machine = Machine::new(&Script { faults, ..Script::default() });
    let stream = machine.stream();
    let of = Arc::clone(&stream);
    let source = (0..9).map(move |number| Ok::<_, String>(batch(&of, number)));
    let mut transfer = Transfer::new(stream.context(), source, 2, BYTES).unwrap();
    drop(transfer.next(&stream).unwrap().unwrap());
    let refused = transfer.next(&stream).unwrap_err();
    assert!(matches!(&refused, Error::Copy(CudaError::Call { code: Code(801), .. })), "{refused}");
    let broken = loop {
        match transfer.next(&stream) {
            Ok(Some(delivered)) => drop(delivered),
            Ok(None) => panic!("a broken device gave an end"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&broken, Error::Copy(error) if error.is_fatal() && error.code() == Some(Code(719))),
        "{broken}"
    );
    for _ in 0..3 {
        assert!(matches!(transfer.next(&stream), Err(Error::Copy(error)) if error.is_fatal()));
    }
    drop((transfer, stream));
    machine.is_empty();
}

#[test]
fn what_is_asked_for_must_fit() {
    let machine = Machine::new(&Script::default());
    let context = machine.context();
    let none = || std::iter::empty::<Result<Vec<u8>, String>>();
    for slots in [0, 1, 65] {
        assert_eq!(Transfer::new(&context, none(), slots, 1).err().unwrap(), Error::Slots { slots });
    }
    let error = Transfer::new(&context, none(), 4, 20 << 20).err().unwrap();
    assert!(matches!(error, Error::Copy(CudaError::OutOfDeviceMemory { .. })), "{error}");
    drop(context);
    machine.is_empty();
}

#[test]
fn everything_is_freed_in_the_middle_and_batches_outlive_the_transfer() {
    let machine = Machine::new(&Script::default());
    let stream = machine.stream();
    let of = Arc::clone(&stream);
    let source = (1..).map(move |number| Ok::<_, String>(batch(&of, number)));
    let mut transfer = Transfer::new(stream.context(), source, 4, BYTES).unwrap();
    let held = transfer.next(&stream).unwrap().unwrap();
    drop(transfer);
    assert_eq!(number(&stream, &held), 1);
    drop((held, stream));
    machine.is_empty();
}
