//! Noticing that this process was forked: a child has no ticker thread, so nothing would stop its calls. Only notices;
//! what follows from it is decided where calls are made.
#![expect(unsafe_code, reason = "pthread_atfork")]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// How often the processes before this one were forked since the first call. Costs a load.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Begins to count; the generation to compare with later.
pub(crate) fn watch() -> u32 {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec.
        let result = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if result != 0 {
            tracing::warn!(
                result,
                "cannot watch for forks: plugins that were loaded before one must not be called after it"
            );
        }
    });
    generation()
}
