//! NVIDIA's NCCL for tensors on GPUs, loaded at run time: a small binding of what training loops use.
//!
//! It takes addresses of device memory and a CUDA stream as they come from a framework, and returns once the work is in the
//! stream. It is no [`Communicator`](super::Communicator): its calls end on the GPU, later, and have no deadline of their
//! own ([`Comm::check`] and [`Comm::abort`] are for whoever watches over them). Ranks meet by any communicator: rank 0
//! makes a [`UniqueId`], and [`adopt`](super::agree::adopt) brings it to the others.

mod comm;
mod library;

use std::path::PathBuf;

pub use comm::{Comm, OnStream, UniqueId};
pub use library::{Library, Version};

/// Why NCCL cannot be used, or a call of it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NcclError {
    /// There is no such library.
    #[error(
        "NCCL is not installed (looked for {}); pip install nvidia-nccl-cu12 would bring it",
        shown(looked)
    )]
    Absent {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// There is one, and the loader refuses it.
    #[error("{} cannot be loaded: {reason}", path.display())]
    NotALibrary {
        /// Which file, or the name that the loader searched.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// It is another library, or an old one.
    #[error("{} is not NCCL, or too old: it lacks {}", path.display(), names.join(", "))]
    SymbolsMissing {
        /// Which file, or the name that the loader searched.
        path: PathBuf,
        /// What it lacks.
        names: Vec<&'static str>,
    },
    /// A call failed.
    #[error("{function} failed ({code}): {message}")]
    Call {
        /// Which one.
        function: &'static str,
        /// NCCL's number.
        code: i32,
        /// NCCL's words.
        message: String,
    },
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_place_without_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Library::open_in(&[folder.path().to_owned()]).unwrap_err();
        let NcclError::Absent { looked } = &error else { panic!("{error}") };
        assert!(looked[0].ends_with("nvidia/nccl/lib/libnccl.so.2"), "{error}");
    }

    #[test]
    fn what_is_no_library_is_told_from_what_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("nvidia/nccl/lib");
        fs::create_dir_all(&wheel).unwrap();
        let file = wheel.join("libnccl.so.2");
        fs::write(&file, "no library").unwrap();
        let error = Library::open_in(&[folder.path().to_owned()]).unwrap_err();
        assert!(matches!(&error, NcclError::NotALibrary { path, .. } if *path == file), "{error}");

        // Every process has one library that is certainly not NCCL.
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let other = maps
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .find(|path| path.contains("libc.so"));
        let error = Library::open_in(&[other.unwrap().into()]).unwrap_err();
        let NcclError::SymbolsMissing { names, .. } = &error else { panic!("{error}") };
        assert!(names.contains(&"ncclAllReduce"), "{error}");
    }

    /// Against the real library, where there is one: what can be called without a GPU.
    #[test]
    #[ignore = "needs NCCL; its file, or the site-packages it lies in, in ZENITH_TEST_NCCL"]
    fn the_real_one_tells_its_version_and_makes_ids() {
        let place = std::env::var_os("ZENITH_TEST_NCCL").unwrap();
        let library = Library::open_in(&[place.into()]).unwrap();
        let version = library.version().unwrap();
        assert!(version >= Version { major: 2, minor: 10, patch: 0 }, "{version}");
        let (one, other) = (library.unique_id().unwrap(), library.unique_id().unwrap());
        assert!(one.as_bytes() != other.as_bytes());
        // Without a GPU a rank cannot begin, and NCCL says so in words.
        if let Err(NcclError::Call { function, message, .. }) = Comm::init(&library, &one, 0, 1) {
            assert_eq!(function, "ncclCommInitRank");
            assert!(!message.is_empty());
        }
    }
}
