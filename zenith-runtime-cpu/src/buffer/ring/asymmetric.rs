//! Barriers that cost the fast path nothing: whoever is about to sleep makes the kernel run a barrier on every core of
//! the process (`membarrier`), so whoever publishes needs none. Where the kernel has no such call, both sides fence.
#![cfg_attr(not(loom), expect(unsafe_code, reason = "the membarrier system call"))]

#[cfg(not(loom))]
use std::time::Duration;

use crate::sync::Gate;
use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// Longest sleep when the barrier that makes sleeping safe failed after it had worked: a missed wake-up costs this.
#[cfg(not(loom))]
const UNSURE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct Barriers {
    /// The kernel cannot make other cores run a barrier, so every publication fences.
    fenced: bool,
}

impl Barriers {
    pub(super) fn choose() -> Self {
        Barriers { fenced: !kernel::registered() }
    }

    /// Between publishing an index and looking for sleepers.
    #[inline(always)]
    pub(super) fn light(self) {
        if self.fenced {
            fence(Ordering::SeqCst);
        } else {
            #[cfg(not(loom))]
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        }
    }

    /// Between announcing a sleeper and looking at the indices; whether it can be relied on.
    fn heavy(self) -> bool {
        fence(Ordering::SeqCst);
        self.fenced || kernel::barrier()
    }

    /// Waits at `gate` until `changed`; `waits` tells the other end that a notification is wanted.
    pub(super) fn wait(self, gate: &Gate, waits: &AtomicBool, changed: impl Fn() -> bool) {
        if spin(&changed) {
            return;
        }
        loop {
            let key = gate.prepare();
            waits.store(true, Ordering::Relaxed);
            let sure = self.heavy();
            let done = if changed() {
                drop(key);
                true
            } else if sure {
                gate.wait(key);
                changed()
            } else {
                wait_briefly(gate, key);
                changed()
            };
            if done {
                waits.store(false, Ordering::Relaxed);
                return;
            }
        }
    }
}

#[cfg(not(loom))]
fn wait_briefly(gate: &Gate, key: crate::sync::Key<'_>) {
    gate.wait_timeout(key, UNSURE);
}

#[cfg(loom)]
fn wait_briefly(_gate: &Gate, _key: crate::sync::Key<'_>) {
    unreachable!("a model always fences");
}

/// A few microseconds of looking; sleeping and being woken takes longer than that.
#[cfg(not(loom))]
fn spin(changed: &impl Fn() -> bool) -> bool {
    for round in 0..6 {
        if changed() {
            return true;
        }
        for _ in 0..1_u32 << round {
            crate::sync::hint::spin_loop();
        }
    }
    changed()
}

#[cfg(loom)]
fn spin(changed: &impl Fn() -> bool) -> bool {
    changed()
}

#[cfg(not(loom))]
mod kernel {
    use std::sync::OnceLock;

    /// `MEMBARRIER_CMD_PRIVATE_EXPEDITED` of linux/membarrier.h.
    const BARRIER: libc::c_int = 1 << 3;
    /// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED` of linux/membarrier.h.
    const REGISTER: libc::c_int = 1 << 4;

    fn call(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(super) fn registered() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| call(REGISTER))
    }

    pub(super) fn barrier() -> bool {
        // A process that got the rings by fork may have to register once more.
        call(BARRIER) || (call(REGISTER) && call(BARRIER))
    }
}

#[cfg(loom)]
mod kernel {
    pub(super) fn registered() -> bool {
        false
    }

    pub(super) fn barrier() -> bool {
        true
    }
}
