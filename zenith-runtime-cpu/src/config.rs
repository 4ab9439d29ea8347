//! How the machine is to be used: raw as people write it, checked against the machine once.
//!
//! What belongs to a loader (batch size, prefetch) is not configured here.

use serde::Deserialize;

use crate::allocator::PagesWanted;
use crate::io::Backend;
use crate::numa::{CpuSet, Topology};

/// Settings as they are written in a file, in arguments, or in the environment. Whatever is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMachineConfig {
    /// `auto`, `heap`, `thp` or `huge`.
    pub pages: Option<String>,
    /// `auto`, `off`, or a list of processors such as `0-3,8`.
    pub pin: Option<String>,
    /// `auto`, or the number of a memory node.
    pub node: Option<String>,
    /// `auto`, `io_uring` or `pread`.
    pub io: Option<String>,
}

/// Checked settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineConfig {
    /// The pages batches lie in.
    pub pages: PagesWanted,
    /// Where threads run.
    pub pin: Pin,
    /// The memory node batches lie on; `None`: that of the device they are for, else of first touch.
    pub node: Option<u32>,
    /// How files are read.
    pub io: Backend,
}

/// Where threads run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Near the memory they work on, where the machine has more than one node.
    #[default]
    Auto,
    /// Wherever the system likes.
    Off,
    /// On these processors.
    To(CpuSet),
}

/// A setting that makes no sense on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value:?}: {reason}")]
pub struct ConfigError {
    /// The setting.
    pub key: String,
    /// What it was.
    pub value: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl RawMachineConfig {
    /// The settings in the environment: `ZENITH_PAGES`, `ZENITH_PIN`, `ZENITH_NODE`, `ZENITH_IO`. `lookup` gives the value of
    /// a variable; pass `|name| std::env::var(name).ok()`.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name| lookup(name).filter(|value| !value.is_empty());
        Self {
            pages: value("ZENITH_PAGES"),
            pin: value("ZENITH_PIN"),
            node: value("ZENITH_NODE"),
            io: value("ZENITH_IO"),
        }
    }

    /// How files are to be read; what the other settings say does not matter here.
    ///
    /// # Errors
    /// [`ConfigError`] when `io` names no way to read.
    pub fn backend(&self) -> Result<Backend, ConfigError> {
        choose(
            "io",
            self.io.as_deref(),
            &[("auto", Backend::Auto), ("io_uring", Backend::Uring), ("pread", Backend::Pread)],
        )
    }

    /// These settings and, where they leave something out, those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            pages: self.pages.or(other.pages),
            pin: self.pin.or(other.pin),
            node: self.node.or(other.node),
            io: self.io.or(other.io),
        }
    }

    /// The settings, checked against the machine they are for.
    ///
    /// # Errors
    /// [`ConfigError`] for the first one that makes no sense.
    pub fn check(&self, topology: &Topology) -> Result<MachineConfig, ConfigError> {
        Ok(MachineConfig {
            pages: choose(
                "pages",
                self.pages.as_deref(),
                &[
                    ("auto", PagesWanted::Auto),
                    ("heap", PagesWanted::Heap),
                    ("thp", PagesWanted::Thp),
                    ("huge", PagesWanted::Huge),
                ],
            )?,
            pin: check_pin(self.pin.as_deref(), topology)?,
            node: check_node(self.node.as_deref(), topology)?,
            io: self.backend()?,
        })
    }
}

impl MachineConfig {
    /// Where `workers` threads that fill memory of `node` run; `None`: wherever the system likes. See
    /// [`Topology::cpus_near`].
    #[must_use]
    pub fn worker_cpus(&self, topology: &Topology, node: Option<u32>, workers: usize) -> Option<CpuSet> {
        match &self.pin {
            Pin::Auto => topology.cpus_near(self.node.or(node)?, workers),
            Pin::Off => None,
            Pin::To(cpus) => Some(cpus.clone()),
        }
    }
}

fn error(key: &str, value: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError { key: key.to_owned(), value: value.to_owned(), reason: reason.into() }
}

fn choose<T: Copy + Default>(
    key: &str,
    value: Option<&str>,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    let Some(value) = value else {
        return Ok(T::default());
    };
    let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    choices
        .iter()
        .find(|(name, _)| *name == value)
        .map(|&(_, choice)| choice)
        .ok_or_else(|| error(key, value, format!("expected one of {}", names())))
}

fn check_pin(value: Option<&str>, topology: &Topology) -> Result<Pin, ConfigError> {
    let value = match value {
        None | Some("auto") => return Ok(Pin::Auto),
        Some("off") => return Ok(Pin::Off),
        Some(value) => value,
    };
    let cpus: CpuSet =
        value.parse().map_err(|_| error("pin", value, "expected auto, off, or a list such as 0-3,8"))?;
    if cpus.is_empty() {
        return Err(error("pin", value, "no processors are in it"));
    }
    let missing = cpus.difference(&topology.cpus);
    if !missing.is_empty() {
        return Err(error("pin", value, format!("processors {missing} are not online")));
    }
    let denied = cpus.difference(&topology.allowed_cpus);
    if !denied.is_empty() {
        return Err(error(
            "pin",
            value,
            format!("processors {denied} are not allowed to this process (affinity mask or cgroup)"),
        ));
    }
    Ok(Pin::To(cpus))
}

fn check_node(value: Option<&str>, topology: &Topology) -> Result<Option<u32>, ConfigError> {
    let value = match value {
        None | Some("auto") => return Ok(None),
        Some(value) => value,
    };
    let known: CpuSet = topology.numa_nodes.iter().map(|node| node.id).collect();
    match value.parse() {
        Ok(node) if known.contains(node) => Ok(Some(node)),
        _ => Err(error("node", value, format!("expected auto or one of the memory nodes {known}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numa::NumaNode;

    fn machine() -> Topology {
        let node = |id: u32, cpus: &str, distances: [u32; 2]| NumaNode {
            id,
            cpus: cpus.parse().unwrap(),
            memory_bytes: 1 << 30,
            distances: distances.to_vec(),
            nearest_cpus: cpus.parse().unwrap(),
        };
        Topology {
            cpus: "0-7".parse().unwrap(),
            allowed_cpus: "0-6".parse().unwrap(),
            numa_nodes: vec![node(0, "0-3", [10, 21]), node(2, "4-7", [21, 10])],
            ..Topology::default()
        }
    }

    fn raw(pages: &str, pin: &str, node: &str, io: &str) -> RawMachineConfig {
        let value = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RawMachineConfig { pages: value(pages), pin: value(pin), node: value(node), io: value(io) }
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(RawMachineConfig::default().check(&machine()).unwrap(), MachineConfig::default());
        assert_eq!(raw("auto", "auto", "auto", "auto").check(&machine()).unwrap(), MachineConfig::default());
    }

    #[test]
    fn what_is_said_is_meant() {
        let config = raw("huge", "1-2", "2", "pread").check(&machine()).unwrap();
        assert_eq!(
            config,
            MachineConfig {
                pages: PagesWanted::Huge,
                pin: Pin::To("1-2".parse().unwrap()),
                node: Some(2),
                io: Backend::Pread,
            }
        );
    }

    #[test]
    fn the_backend_is_told_without_the_machine() {
        assert_eq!(raw("huge", "99", "99", "pread").backend().unwrap(), Backend::Pread);
        assert_eq!(raw("", "", "", "").backend().unwrap(), Backend::Auto);
        assert_eq!(raw("", "", "", "aio").backend().unwrap_err().key, "io");
    }

    #[test]
    fn nonsense_is_an_error_that_says_what_would_be_right() {
        for (raw, text) in [
            (raw("big", "", "", ""), "pages = \"big\": expected one of auto, heap, thp, huge"),
            (raw("", "some", "", ""), "pin = \"some\": expected auto, off, or a list such as 0-3,8"),
            (raw("", "6-9", "", ""), "pin = \"6-9\": processors 8-9 are not online"),
            (
                raw("", "7", "", ""),
                "pin = \"7\": processors 7 are not allowed to this process (affinity mask or cgroup)",
            ),
            (raw("", ",", "", ""), "pin = \",\": no processors are in it"),
            (raw("", "", "1", ""), "node = \"1\": expected auto or one of the memory nodes 0,2"),
            (raw("", "", "", "aio"), "io = \"aio\": expected one of auto, io_uring, pread"),
        ] {
            assert_eq!(raw.check(&machine()).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        let error = serde_json::from_str::<RawMachineConfig>(r#"{"page": "huge"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `page`"), "{error}");
    }

    #[test]
    fn the_environment_fills_what_was_left_out() {
        let environment = RawMachineConfig::from_env(|name| match name {
            "ZENITH_PAGES" => Some("thp".to_owned()),
            "ZENITH_PIN" => Some("off".to_owned()),
            "ZENITH_IO" => Some(String::new()),
            _ => None,
        });
        assert_eq!(environment, raw("thp", "off", "", ""));
        assert_eq!(raw("heap", "", "", "pread").or(environment), raw("heap", "off", "", "pread"));
    }

    #[test]
    fn workers_run_where_they_are_told_or_near_their_memory() {
        let topology = machine();
        let config = |pin: &str| raw("", pin, "", "").check(&topology).unwrap();
        let set = |list: &str| Some(list.parse::<CpuSet>().unwrap());
        assert_eq!(config("auto").worker_cpus(&topology, Some(2), 2), set("4-6"));
        assert_eq!(config("auto").worker_cpus(&topology, None, 2), None);
        assert_eq!(config("off").worker_cpus(&topology, Some(2), 2), None);
        assert_eq!(config("1").worker_cpus(&topology, Some(2), 2), set("1"));
    }
}
