//! The library: where it lies, what it must have, and its words for its errors.
#![expect(unsafe_code, reason = "calls a foreign library")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::NcclError;
use super::comm::{ID_BYTES, UniqueId};

/// The name under which it is installed; the pip wheel has no other.
const SONAME: &str = "libnccl.so.2";

/// Where the pip wheel puts it, below site-packages.
const WHEEL: &str = "nvidia/nccl/lib/libnccl.so.2";

/// `ncclUniqueId`, which goes by value.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct RawId(pub(super) [u8; ID_BYTES]);

pub(super) type RawComm = *mut c_void;
type Code = c_int;
type Send = *const c_void;
type Receive = *mut c_void;
type Stream = *mut c_void;

macro_rules! entry_points {
    ($($field:ident: $symbol:ident = fn($($type:ty),*) -> $result:ty;)*) => {
        /// The entry points, all of which it has.
        pub(super) struct Api {
            $(pub(super) $field: unsafe extern "C" fn($($type),*) -> $result,)*
        }

        impl Api {
            /// What it lacks, if anything.
            fn of(library: &libloading::Library) -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    // SAFETY: the type is that of nccl.h, the same in all versions 2.
                    let $field = unsafe {
                        library.get::<unsafe extern "C" fn($($type),*) -> $result>(
                            concat!(stringify!($symbol), "\0").as_bytes(),
                        )
                    };
                    let $field = $field.map(|symbol| *symbol).map_err(|_| missing.push(stringify!($symbol)));
                )*
                match ($($field,)*) {
                    ($(Ok($field),)*) => Ok(Self { $($field,)* }),
                    _ => Err(missing),
                }
            }
        }
    };
}

entry_points! {
    get_version: ncclGetVersion = fn(*mut c_int) -> Code;
    error_string: ncclGetErrorString = fn(Code) -> *const c_char;
    unique_id: ncclGetUniqueId = fn(*mut RawId) -> Code;
    comm_init_rank: ncclCommInitRank = fn(*mut RawComm, c_int, RawId, c_int) -> Code;
    comm_destroy: ncclCommDestroy = fn(RawComm) -> Code;
    comm_abort: ncclCommAbort = fn(RawComm) -> Code;
    comm_async_error: ncclCommGetAsyncError = fn(RawComm, *mut Code) -> Code;
    all_reduce: ncclAllReduce = fn(Send, Receive, usize, c_int, c_int, RawComm, Stream) -> Code;
    reduce_scatter: ncclReduceScatter = fn(Send, Receive, usize, c_int, c_int, RawComm, Stream) -> Code;
    all_gather: ncclAllGather = fn(Send, Receive, usize, c_int, RawComm, Stream) -> Code;
    broadcast: ncclBroadcast = fn(Send, Receive, usize, c_int, c_int, RawComm, Stream) -> Code;
}

/// A version, as 2.27.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    /// Two decimal digits each since 2.9, and one for the minor before.
    pub(super) const fn of(code: u32) -> Self {
        if code < 10_000 {
            Self { major: code / 1000, minor: code / 100 % 10, patch: code % 100 }
        } else {
            Self { major: code / 10_000, minor: code / 100 % 100, patch: code % 100 }
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// NCCL, loaded. Stays loaded as long as there are clones and communicators of it.
#[derive(Clone)]
pub struct Library {
    pub(super) api: Arc<Loaded>,
}

pub(super) struct Loaded {
    entries: Api,
    path: PathBuf,
    /// Dropped after the entry points that lie in it.
    _library: libloading::Library,
}

impl std::ops::Deref for Loaded {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.entries
    }
}

impl Library {
    /// Loads it from one of these places, or from where the loader finds it. A place is the library's file, or a
    /// site-packages folder, below which the pip wheel has it.
    ///
    /// # Errors
    /// When there is none, or the first one found cannot be used.
    pub fn open(places: &[PathBuf]) -> Result<Self, NcclError> {
        match Self::open_in(places) {
            Err(NcclError::Absent { mut looked }) => match load(OsStr::new(SONAME)) {
                Ok(library) => Self::new(library, SONAME.into()),
                Err(reason) if reason.contains("No such file") && reason.contains(&format!("{SONAME}:")) => {
                    looked.push(SONAME.into());
                    Err(NcclError::Absent { looked })
                }
                Err(reason) => Err(NcclError::NotALibrary { path: SONAME.into(), reason }),
            },
            outcome => outcome,
        }
    }

    /// As [`open`](Self::open), from these places alone.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_in(places: &[PathBuf]) -> Result<Self, NcclError> {
        let file = |place: &PathBuf| if place.is_dir() { place.join(WHEEL) } else { place.clone() };
        let looked: Vec<PathBuf> = places.iter().map(file).collect();
        let Some(path) = looked.iter().find(|path| path.exists()) else {
            return Err(NcclError::Absent { looked });
        };
        match load(path.as_os_str()) {
            Ok(library) => Self::new(library, path.clone()),
            Err(reason) => Err(NcclError::NotALibrary { path: path.clone(), reason }),
        }
    }

    fn new(library: libloading::Library, path: PathBuf) -> Result<Self, NcclError> {
        match Api::of(&library) {
            Ok(entries) => Ok(Self { api: Arc::new(Loaded { entries, path, _library: library }) }),
            Err(names) => Err(NcclError::SymbolsMissing { path, names }),
        }
    }

    /// Where it was found; a name alone is the loader's.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.api.path
    }

    /// Its version.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn version(&self) -> Result<Version, NcclError> {
        let mut code = 0;
        // SAFETY: writes one int, which lives.
        self.check("ncclGetVersion", unsafe { (self.api.get_version)(&raw mut code) })?;
        Ok(Version::of(code.cast_unsigned()))
    }

    /// A new identity for a group of ranks. Whoever makes it must live while the ranks meet.
    ///
    /// # Errors
    /// When it finds no network interface.
    pub fn unique_id(&self) -> Result<UniqueId, NcclError> {
        let mut id = RawId([0; ID_BYTES]);
        // SAFETY: writes one id, which lives.
        self.check("ncclGetUniqueId", unsafe { (self.api.unique_id)(&raw mut id) })?;
        Ok(UniqueId::from_bytes(id.0))
    }

    pub(super) fn check(&self, function: &'static str, code: c_int) -> Result<(), NcclError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: takes any number and returns a string of its own that is never freed, or null.
        let words = unsafe { (self.api.error_string)(code) };
        let message = if words.is_null() {
            String::from("it has no words for it")
        } else {
            // SAFETY: a string of the library, ended by zero.
            unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
        };
        Err(NcclError::Call { function, code, message })
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("path", &self.api.path).finish_non_exhaustive()
    }
}

fn load(name: &OsStr) -> Result<libloading::Library, String> {
    // SAFETY: loading runs the library's initialisers; it is the one that the user's frameworks load, too.
    unsafe { libloading::Library::new(name) }.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_old_and_new_are_read() {
        assert_eq!(Version::of(22_705).to_string(), "2.27.5");
        assert_eq!(Version::of(2_804).to_string(), "2.8.4");
    }
}
