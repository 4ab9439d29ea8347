//! The plugin host: sandboxed WebAssembly modules as [`zenith_data::transform::custom::Transform`]s, with limits and
//! deadlines. It knows modules, memory and calls; where samples come from is the data plane's matter.
