//! What a run remembers of encoded pictures, so that later epochs cost less: their bytes, or where their data can be
//! entered. Decoded pixels are not kept. Every cache has a bound in bytes and is shared by all workers.

mod bytes;
mod index;
mod sidecar;

use zenith_runtime_cpu::limits::memory_available;

pub use self::bytes::CachedBlobs;
pub use self::index::{IndexCache, Indexes};

/// What to remember of pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageCache {
    /// Nothing.
    #[default]
    None,
    /// Where their entropy-coded data can be entered (JPEG of one scan), also for later runs: crops then skip the
    /// decoding outside of them.
    Index,
    /// Their encoded bytes: from the second epoch on nothing is read.
    Memory,
}

impl ImageCache {
    /// The cache of this name: `index` or `memory`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "index" => Some(ImageCache::Index),
            "memory" => Some(ImageCache::Memory),
            _ => None,
        }
    }

    /// Its name; `none` for none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ImageCache::None => "none",
            ImageCache::Index => "index",
            ImageCache::Memory => "memory",
        }
    }
}

/// Bytes a cache may take, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The bound.
    pub bytes: u64,
    /// Where it comes from, for the report.
    pub origin: &'static str,
}

impl Limit {
    /// `memory_budget`, else half of the memory that is free now on the machine and within the control groups.
    #[must_use]
    pub fn of(memory_budget: Option<u64>) -> Self {
        match memory_budget {
            Some(bytes) => Self { bytes, origin: "memory_budget" },
            None => match memory_available() {
                Some(available) => Self { bytes: available / 2, origin: "half of the available memory" },
                None => Self { bytes: 1 << 30, origin: "1 GiB, as the available memory is unknown" },
            },
        }
    }

    /// As shown in a report.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} ({})", self.bytes, self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_what_was_given_or_half_of_what_is_free() {
        let given = Limit::of(Some(5));
        assert_eq!(given.describe(), "5 (memory_budget)");
        let found = Limit::of(None);
        assert_eq!(found.origin, "half of the available memory");
        assert!(found.bytes > 1 << 20, "{found:?}");
    }

    #[test]
    fn names_go_both_ways() {
        for cache in [ImageCache::Index, ImageCache::Memory] {
            assert_eq!(ImageCache::from_name(cache.name()), Some(cache));
        }
        assert_eq!(ImageCache::from_name("decoded"), None);
    }
}
