//! The example plugins, as built for WebAssembly, run by the host: against the native plans of the data plane where there is
//! a twin, against arithmetic elsewhere. What hostile modules may not do is tested elsewhere.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod pictures;
mod samples;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use zenith_data::DType;
use zenith_data::transform::custom::TensorRef;
use zenith_plugin::{Cache, Host, HostConfig, Instance, Limits, Plugin, PluginError};

/// A tensor that outlives its call.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Owned {
    fn bytes(shape: &[usize], bytes: &[u8]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), bytes.len());
        Self { dtype: DType::UInt8, shape: shape.to_vec(), bytes: bytes.to_vec() }
    }

    fn floats(shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        Self { dtype: DType::Float32, shape: shape.to_vec(), bytes }
    }

    fn lent(&self) -> TensorRef<'_> {
        TensorRef { dtype: self.dtype, shape: &self.shape, bytes: &self.bytes }
    }

    fn as_floats(&self) -> Vec<f32> {
        assert_eq!(self.dtype, DType::Float32);
        self.bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect()
    }
}

/// Where the plugins are: in `ZENITH_PLUGINS`, else in the build folder.
fn folder() -> PathBuf {
    match std::env::var_os("ZENITH_PLUGINS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("plugins"),
    }
}

/// The file of a plugin; all of them are built where it is not there.
fn built(name: &str) -> PathBuf {
    let path = folder().join(name).with_extension("wasm");
    if path.exists() {
        return path;
    }
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    // Each test may be a process of its own, and one build is enough for all of them.
    let turn = File::create(build.join("plugins.lock")).unwrap();
    turn.lock().unwrap();
    if !path.exists() {
        let script = Command::new("sh")
            .arg("../scripts/plugins")
            .env("ZENITH_PLUGINS", std::path::absolute(folder()).unwrap())
            .env("CARGO_TARGET_DIR", build)
            .output()
            .unwrap();
        // It stops at the first that it cannot build, and those before it are there.
        assert!(
            path.exists(),
            "{} is not there, and scripts/plugins ends with {} and\n{}",
            path.display(),
            script.status,
            String::from_utf8_lossy(&script.stderr)
        );
    }
    path
}

fn load(name: &str, config: &str) -> Result<Plugin, PluginError> {
    let path = built(name);
    let cache = Cache::Dir(Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples"));
    Host::new(HostConfig { cache })?.load_file(path, config, &Limits::default())
}

/// A plugin, ready to be called.
struct Guest(Instance);

impl Guest {
    fn new(name: &str, config: &str) -> Self {
        Self(load(name, config).unwrap().instance().unwrap())
    }

    fn apply(&mut self, input: &Owned) -> Result<Vec<Owned>, PluginError> {
        self.apply_with(input, 0)
    }

    fn apply_with(&mut self, input: &Owned, random: u64) -> Result<Vec<Owned>, PluginError> {
        let mut taken = Vec::new();
        self.0.apply(input.lent(), random, &mut |tensor| {
            taken.push(owned(tensor));
            Ok(())
        })?;
        Ok(taken)
    }

    /// The one tensor that becomes of `input`.
    fn one(&mut self, input: &Owned) -> Owned {
        let mut taken = self.apply(input).unwrap();
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }

    fn batch(&mut self, input: &Owned) -> Owned {
        let mut taken = None;
        let mut take = |tensor: TensorRef<'_>| {
            taken = Some(owned(tensor));
            Ok(())
        };
        self.0.apply_batch(input.lent(), 0, &mut take).unwrap();
        taken.unwrap()
    }

    /// The code and text with which the plugin refuses `input`.
    fn refusal(&mut self, input: &Owned) -> (i32, String) {
        match self.apply(input) {
            Err(PluginError::Code { code, message, .. }) => (code, message),
            other => panic!("{other:?}"),
        }
    }
}

fn owned(tensor: TensorRef<'_>) -> Owned {
    Owned { dtype: tensor.dtype, shape: tensor.shape.to_vec(), bytes: tensor.bytes.to_vec() }
}

/// Bytes that look like nothing in particular.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}
