//! What a measurement depends on besides the key: the device, its driver, and the libraries of the one candidate that was
//! measured. Another library's new version does not make it stale.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use serde::{Deserialize, Serialize};
use zenith_device::Gpu;
use zenith_runtime_cpu::limits;

use super::key::digest;

/// Bytes of `/proc/cpuinfo` that are read: the first processor's part is far below.
const CPUINFO: u64 = 64 * 1024;

/// A library that a candidate depends on, with its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Library {
    /// Its name, such as `cublasLt`.
    pub name: String,
    /// Its version, as it says it.
    pub version: String,
}

/// What candidates run on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// `cpu` or `cuda`, as frameworks call it.
    pub kind: String,
    /// The model, with all that changes its speed: an instance's profile, the number of processors.
    pub model: String,
    /// The version of its driver; a processor has none.
    pub driver: Option<String>,
}

/// All that one candidate's measurement depends on besides the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Environment {
    /// Where it ran.
    pub device: Device,
    /// The candidate's libraries, by name.
    pub libraries: BTreeMap<String, String>,
}

impl Library {
    /// A library.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned() }
    }
}

impl Device {
    /// This machine's processors, as many as this process may use.
    #[must_use]
    pub fn cpu() -> Self {
        let mut text = String::new();
        // Without /proc the model is unknown, and its name says so.
        let _ = fs::File::open("/proc/cpuinfo").map(|file| file.take(CPUINFO).read_to_string(&mut text));
        let value = |name: &str| {
            let line =
                text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let model = value("model name").unwrap_or_else(|| "unknown processor".to_owned());
        let build: Vec<String> =
            ["cpu family", "model", "stepping"].iter().filter_map(|name| value(name)).collect();
        let processors = limits::processors().unwrap_or(1);
        let build = if build.is_empty() { String::new() } else { format!(" {}", build.join(".")) };
        Self { kind: "cpu".to_owned(), model: format!("{model}{build} x{processors}"), driver: None }
    }

    /// A GPU, or an instance of it by its model name.
    #[must_use]
    pub fn gpu(kind: &str, gpu: &Gpu, instance: Option<&str>, driver: Option<&str>) -> Self {
        let model = gpu.model.as_deref().or(gpu.gfx.as_deref()).unwrap_or("unknown GPU");
        let capability =
            gpu.compute_capability.map(|capability| format!(" sm_{}{}", capability.major, capability.minor));
        let instance = instance.map(|instance| format!(" {instance}"));
        Self {
            kind: kind.to_owned(),
            model: format!("{model}{}{}", capability.unwrap_or_default(), instance.unwrap_or_default()),
            driver: driver.map(str::to_owned),
        }
    }
}

impl Environment {
    /// What a candidate with these libraries depends on here.
    #[must_use]
    pub fn new(device: &Device, libraries: Vec<Library>) -> Self {
        let libraries = libraries.into_iter().map(|library| (library.name, library.version)).collect();
        Self { device: device.clone(), libraries }
    }

    /// 32 hexadecimal digits that stand for it.
    #[must_use]
    pub fn digest(&self) -> String {
        // Fields are told apart by what they cannot contain unescaped, so different environments have different text.
        digest(&format!(
            "{:?}",
            (&self.device.kind, &self.device.model, &self.device.driver, &self.libraries)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_tells() {
        let cpu = Device::cpu();
        assert!(cpu.model.contains(" x"), "{cpu:?}");
        let of = |device: &Device, name: &str, version: &str| {
            Environment::new(device, vec![Library::new(name, version)]).digest()
        };
        let here = of(&cpu, "blas", "1");
        assert_eq!(here, of(&Device::cpu(), "blas", "1"));
        assert_ne!(here, of(&cpu, "blas", "2"));
        assert_ne!(here, of(&cpu, "bla", "s1"));
        assert_ne!(here, of(&Device { driver: Some("1".into()), ..cpu.clone() }, "blas", "1"));
        assert_ne!(here, of(&Device { kind: "cuda".into(), ..cpu }, "blas", "1"));
    }
}
