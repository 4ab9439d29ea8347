//! What is found, and what is said when the library is absent, broken, old or refuses.

use std::fs;
use std::path::Path;

use zenith_fakecuda::{Device, Script};
use zenith_runtime_gpu::cuda::{Code, Driver, Error};

use crate::Machine;

#[test]
fn no_library_is_absent_by_path_and_by_name() {
    for name in ["/nonexistent/libcuda.so.1", "libno-such-cuda.so.1"] {
        let error = Driver::open(Some(Path::new(name))).unwrap_err();
        assert_eq!(error, Error::Absent { name: name.to_owned() });
    }
}

#[test]
fn what_is_no_library_says_what_the_loader_says() {
    let machine = Machine::new(&Script::default());
    let whole = fs::read(&machine.library).unwrap();
    for bytes in [&b"this is no library\n"[..], &whole[..200], b""] {
        let path = machine.library.with_file_name("libcuda.so.1");
        fs::write(&path, bytes).unwrap();
        let error = Driver::open(Some(&path)).unwrap_err();
        assert!(matches!(&error, Error::NotALibrary { reason } if !reason.is_empty()), "{error}");
    }
}

#[test]
fn every_function_that_is_lacking_is_named() {
    for symbols in [&["cuInit"][..], &["cuEventElapsedTime"], &["cuStreamWaitEvent", "cuMemHostRegister_v2"]]
    {
        let machine = Machine::lacking(&Script::default(), symbols);
        let Error::SymbolsMissing { mut names } = Driver::open(Some(&machine.library)).unwrap_err() else {
            panic!("a driver without {symbols:?} was used")
        };
        names.sort_unstable();
        let mut expected = symbols.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}

#[test]
fn a_driver_that_does_not_start_says_why() {
    for (code, hint) in
        [(100, "CUDA_VISIBLE_DEVICES"), (803, "reboot"), (34, "stubs"), (12_345, "CUresult 12345")]
    {
        let machine = Machine::new(&Script { init: code, ..Script::default() });
        let error = Driver::open(Some(&machine.library)).unwrap_err();
        assert_eq!(error, Error::Init { code: Code(code) });
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn devices_and_what_they_are() {
    let other = Device { name: "NVIDIA A100".to_owned(), bus: 0xc3, capability: (8, 0), ..Device::default() };
    let machine = Machine::new(&Script { devices: vec![Device::default(), other], ..Script::default() });
    let driver = machine.driver();
    assert_eq!((driver.count(), driver.version().unwrap()), (2, (13, 0)));
    let device = driver.device(1).unwrap();
    assert_eq!((device.ordinal, device.name.as_deref()), (1, Some("NVIDIA A100")));
    assert_eq!(device.pci.as_deref(), Some("0000:c3:00.0"));
    assert_eq!((device.memory_bytes, device.capability), (Some(64 << 20), Some((8, 0))));
    assert_eq!((device.multiprocessors, device.copy_engines), (Some(132), Some(3)));
    assert_eq!(driver.device(2).unwrap_err(), Error::NoSuchDevice { device: 2, count: 2 });
    assert!(driver.context(7).is_err());
    assert_eq!(machine.census().contexts, 0, "looking takes nothing");
}

#[test]
fn a_machine_without_devices_is_no_error_until_one_is_asked_for() {
    let machine = Machine::new(&Script { devices: Vec::new(), ..Script::default() });
    let driver = machine.driver();
    assert_eq!(driver.count(), 0);
    assert!(driver.context(0).unwrap_err().to_string().contains("there are none"));
}

#[test]
fn a_context_is_released_with_the_last_of_what_was_made_in_it() {
    let machine = Machine::new(&Script::default());
    let stream = machine.stream();
    assert_eq!(machine.census().contexts, 1);
    assert!(stream.context().is_same(&machine.context()));
    drop(stream);
    machine.is_empty();
}
