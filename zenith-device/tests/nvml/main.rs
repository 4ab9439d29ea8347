//! The real way to NVML, with a stand-in for the library: what is found, what is reported, and what is said when the
//! library is absent, broken, old or refuses. Each test has a copy of the library of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its machine fails")]

mod activity;
mod discovery;
mod doctor;
mod faults;
mod health;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zenith_device::{Discovery, Finding, Settings, Source, discover};
use zenith_fakenvml::{Script, install, install_without, rewrite};

/// A machine of files, with a library in it.
struct Machine {
    folder: TempDir,
    library: PathBuf,
}

impl Machine {
    /// One whose library tells what `script` says.
    fn new(script: &Script) -> Self {
        Self::lacking(script, &[])
    }

    /// One whose library lacks some entry points.
    fn lacking(script: &Script, symbols: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = install_without(folder.path(), script, symbols).unwrap();
        Self { folder, library }.with_processors()
    }

    /// One whose library is whatever these bytes are; none where there are none.
    fn with_bytes(bytes: Option<&[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        if let Some(bytes) = bytes {
            fs::write(&library, bytes).unwrap();
        }
        Self { folder, library }.with_processors()
    }

    /// Two sockets with a memory node each.
    fn with_processors(self) -> Self {
        self.with("sys/devices/system/cpu/online", "0-7")
            .with("sys/devices/system/cpu/cpu0/online", "1")
            .with("sys/devices/system/node/node0/cpulist", "0-3")
            .with("sys/devices/system/node/node1/cpulist", "4-7")
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn with_pci(self, address: &str, vendor: &str, node: &str) -> Self {
        let device = format!("sys/bus/pci/devices/{address}");
        self.with(&format!("{device}/class"), "0x030200")
            .with(&format!("{device}/vendor"), vendor)
            .with(&format!("{device}/device"), "0x2330")
            .with(&format!("{device}/numa_node"), node)
    }

    fn settings(&self) -> Settings {
        Settings { nvml: Some(self.library.clone()), root: self.folder.path().to_owned() }
    }

    fn discover(&self) -> Discovery {
        discover(&self.settings())
    }

    fn rewrite(&self, script: &Script) {
        rewrite(&self.library, script).unwrap();
    }
}

/// The findings about NVML.
fn nvml(found: &Discovery) -> Vec<&Finding> {
    found.sources.iter().filter(|finding| finding.source == Source::Nvml).collect()
}

/// The stand-in, elsewhere than a machine has it.
fn install_in(folder: &Path, script: &Script) -> PathBuf {
    install(folder, script).unwrap()
}
