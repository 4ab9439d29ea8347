//! The one import: `zenith.log`. A plugin's lines go to `tracing`, some of them a second; the rest is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Caller, Extern};

use crate::live::State;
use crate::wire;

/// Lines that are shown in one [`WINDOW`].
const MOST_LINES: u32 = 10;

/// The time in which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Bytes of a line that are shown.
const MOST_BYTES: usize = 1_024;

/// The log of one plugin, shared by its instances.
#[derive(Debug)]
pub(crate) struct Log {
    window: Mutex<Window>,
    suppressed: AtomicU64,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    shown: u32,
    /// Lines that were suppressed since the last one that was shown.
    silent: u64,
}

/// Text that a plugin gave in memory that is not its own.
#[derive(Debug, thiserror::Error)]
#[error("zenith.log was given {length} bytes at {at}, which is outside of its memory")]
pub(crate) struct LogOutside {
    at: u32,
    length: u32,
}

impl Log {
    pub(crate) fn new() -> Self {
        let window = Window { began: Instant::now(), shown: 0, silent: 0 };
        Self { window: Mutex::new(window), suppressed: AtomicU64::new(0) }
    }

    /// Lines that were not shown.
    pub(crate) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Whether a line is shown at `now`, and then how many before it were not.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.began) >= WINDOW {
            window.began = now;
            window.shown = 0;
        }
        if window.shown < MOST_LINES {
            window.shown += 1;
            return Some(std::mem::take(&mut window.silent));
        }
        window.silent += 1;
        drop(window);
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// What `zenith.log` does.
pub(crate) fn log(mut caller: Caller<'_, State>, level: i32, at: i32, length: i32) -> wasmtime::Result<()> {
    let (at, length) = (at as u32, length as u32);
    let outside = || wasmtime::Error::new(LogOutside { at, length });
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(outside());
    };
    let text = wire::bytes(memory.data(&caller), at, length).ok_or_else(outside)?;
    let state = caller.data();
    let Some(suppressed) = state.log.admit(Instant::now()) else {
        return Ok(());
    };
    let text = wire::text(&text[..text.len().min(MOST_BYTES)]);
    let plugin = &*state.name;
    match level {
        1 => tracing::error!(target: "zenith_plugin::guest", plugin, suppressed, "{text}"),
        2 => tracing::warn!(target: "zenith_plugin::guest", plugin, suppressed, "{text}"),
        3 => tracing::info!(target: "zenith_plugin::guest", plugin, suppressed, "{text}"),
        _ => tracing::debug!(target: "zenith_plugin::guest", plugin, suppressed, "{text}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_shown_and_the_rest_is_counted() {
        let log = Log::new();
        let start = Instant::now();
        let shown = |from: u64| {
            (0..1_000)
                .filter(|at| {
                    log.admit(start + Duration::from_millis(from) + Duration::from_micros(*at)).is_some()
                })
                .count()
        };
        assert_eq!(shown(0), 10);
        assert_eq!(log.suppressed(), 990);
        assert_eq!(shown(500), 0);
        assert_eq!(log.suppressed(), 1_990);
        assert_eq!(
            log.admit(start + Duration::from_millis(1_500)),
            Some(1_990),
            "the next line tells of them"
        );
        assert_eq!(shown(1_600), 9);
    }
}
