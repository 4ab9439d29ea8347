//! The real way to the CUDA driver, with a stand-in for the library: what is found, what is said where it is absent, broken
//! or old, and that batches arrive whole and in order. Each test has a copy of the library of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its machine fails")]

mod driver;
mod laws;
mod memory;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use zenith_fakecuda::{Census, Script, census, install_without};
use zenith_runtime_gpu::cuda::{Context, Driver, Stream};

/// A machine with a driver.
struct Machine {
    _folder: TempDir,
    library: PathBuf,
}

impl Machine {
    fn new(script: &Script) -> Self {
        Self::lacking(script, &[])
    }

    fn lacking(script: &Script, symbols: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = install_without(folder.path(), script, symbols).unwrap();
        Self { _folder: folder, library }
    }

    fn driver(&self) -> Driver {
        Driver::open(Some(&self.library)).unwrap()
    }

    fn context(&self) -> Context {
        self.driver().context(0).unwrap()
    }

    fn stream(&self) -> Arc<Stream> {
        Arc::new(Stream::new(&self.context()).unwrap())
    }

    fn census(&self) -> Census {
        census(&self.library).unwrap()
    }

    /// Everything that was taken has been given back.
    fn is_empty(&self) {
        let Census { contexts, streams, events, device_blocks, host_blocks, registered, .. } = self.census();
        assert_eq!([contexts, streams, events, device_blocks, host_blocks, registered], [0; 6]);
    }
}
