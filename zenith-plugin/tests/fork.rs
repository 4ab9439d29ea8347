//! A process that is forked has no clock and no workers: plugins that came along refuse to run, new ones work.
#![expect(unsafe_code, reason = "fork")]

#[expect(dead_code, reason = "every test uses some of it")]
mod handwritten;

use std::time::{Duration, Instant};

use handwritten::{ADD_ONE, flat, host, load};
use zenith_plugin::engine::{Engine, EngineConfig, Item, Refused};
use zenith_plugin::{Limits, PluginError};

#[test]
fn a_child_is_told_to_load_anew() {
    let host = host();
    let plugin = load(&host, ADD_ONE, &Limits::default()).unwrap();
    let mut instance = plugin.instance().unwrap();
    let engine = Engine::new(host.clone(), EngineConfig::default()).unwrap();
    engine.load(&wat::parse_str(ADD_ONE).unwrap(), "").unwrap();
    engine.start().unwrap();
    let mut stream = engine.stream().unwrap();
    instance.apply_in_place(&mut [1]).unwrap();
    // SAFETY: the child uses no lock that another thread may have held, and leaves without handlers.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = |error: PluginError| error.kind() == "forked";
        let shape = [1];
        let mut told = instance.apply_in_place(&mut [1]).is_err_and(refused);
        told &= plugin.instance().is_err_and(refused);
        told &= load(&host, ADD_ONE, &Limits::default()).is_err_and(refused);
        told &= engine.process(flat(&[1], &shape), 0).is_err_and(refused);
        told &= matches!(
            stream.submit(Item::new(zenith_data::DType::UInt8, vec![1], [1], 0)),
            Err(Refused::Stopped(_, PluginError::ForkedEngine))
        );
        drop((instance, plugin, stream, engine, host));
        let anew = handwritten::host();
        let endless = handwritten::bytes_guest(
            "(if (i32.load8_u (local.get $at)) (then (loop $ever (br $ever)))) (i32.const 0)",
        );
        let works = load(&anew, &endless, &handwritten::tight()).and_then(|plugin| {
            let mut instance = plugin.instance()?;
            instance.apply_in_place(&mut [0])?;
            instance.apply_in_place(&mut [1])
        });
        told &= works.is_err_and(|error| error.kind() == "deadline");
        // SAFETY: ends the child without the test harness's exit handlers.
        unsafe { libc::_exit(i32::from(!told)) };
    }
    let mut status = -1;
    let patience = Instant::now() + Duration::from_secs(30);
    // SAFETY: `child` is our child and `status` is writable.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > patience {
            // SAFETY: `child` has not been reaped, so the number is still its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(status, 0);
    instance.apply_in_place(&mut [1]).unwrap();
}
