//! The list of GPUs that a node was last known by. A node whose work runs keeps its list, whatever drivers say when its agent
//! returns: the controller knows GPUs by their place in it, and gives a node that has others than before nothing new until nothing
//! is held there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Family, Gpu};

/// The file that has the list.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
}

/// The list that holds for the life of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) gpus: Vec<Gpu>,
    /// The place of each GPU of the drivers' list.
    pub(crate) places: Vec<Option<u32>>,
    /// Places of GPUs that no driver tells of.
    pub(crate) missing: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct File {
    gpus: Vec<Gpu>,
}

impl Kept {
    pub(crate) fn at(root: &Path) -> Self {
        Self { path: root.join("gpus.json") }
    }

    /// What to go by, and keeps it. `is_busy`: attempts may still hold some of the GPUs that were kept.
    pub(crate) fn choose(&self, found: Vec<Gpu>, is_busy: bool) -> Chosen {
        let kept = if is_busy { self.read() } else { Vec::new() };
        let chosen = choose(found, kept);
        if let Err(error) = self.write(&chosen.gpus) {
            tracing::warn!(path = %self.path.display(), %error, "the list of GPUs cannot be kept");
        }
        chosen
    }

    fn read(&self) -> Vec<Gpu> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the list of GPUs cannot be read");
                return Vec::new();
            }
        };
        serde_json::from_slice::<File>(&text).map(|file| file.gpus).unwrap_or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "the list of GPUs makes no sense");
            Vec::new()
        })
    }

    fn write(&self, gpus: &[Gpu]) -> io::Result<()> {
        // Renamed into place, so that nobody reads half of it.
        let half = self.path.with_extension("half");
        fs::write(&half, serde_json::to_vec_pretty(&File { gpus: gpus.to_vec() })?)?;
        fs::rename(half, &self.path)
    }
}

fn choose(found: Vec<Gpu>, kept: Vec<Gpu>) -> Chosen {
    let is_declared = |gpu: &Gpu| gpu.family == Family::Declared;
    // What is declared wins, and tells for itself.
    if kept.is_empty() || kept.iter().chain(&found).any(is_declared) {
        let places = (0..found.len() as u32).map(Some).collect();
        return Chosen { gpus: found, places, missing: Vec::new() };
    }
    let same = |kept: &Gpu, found: &Gpu| match (&kept.uuid, &found.uuid) {
        (Some(one), Some(other)) => one == other,
        // One that does not answer has a number and no name.
        _ => (kept.family, kept.number) == (found.family, found.number),
    };
    let place = |gpu: &Gpu| kept.iter().position(|kept| same(kept, gpu)).map(|place| place as u32);
    let places: Vec<Option<u32>> = found.iter().map(place).collect();
    let missing = (0..kept.len() as u32).filter(|place| !places.contains(&Some(*place))).collect();
    Chosen { gpus: kept, places, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(number: u32, uuid: Option<&str>) -> Gpu {
        Gpu {
            family: Family::Nvidia,
            number,
            uuid: uuid.map(str::to_owned),
            numa: Some(number),
            nvlink: 0,
            model: "H100".to_owned(),
            memory_mib: Some(80),
        }
    }

    #[test]
    fn a_node_at_rest_goes_by_what_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        let first = kept.choose(vec![gpu(0, Some("a")), gpu(1, Some("b"))], false);
        assert_eq!((first.gpus.len(), first.places), (2, vec![Some(0), Some(1)]));
        assert_eq!(kept.choose(vec![gpu(0, Some("b"))], false).gpus, [gpu(0, Some("b"))]);
    }

    #[test]
    fn a_node_at_work_keeps_its_places() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        let list = vec![gpu(0, Some("a")), gpu(1, Some("b")), gpu(2, Some("c"))];
        kept.choose(list.clone(), false);
        // The first is gone and the last does not answer; the drivers count anew.
        let chosen = kept.choose(vec![gpu(0, Some("b")), gpu(2, None)], true);
        assert_eq!(chosen, Chosen { gpus: list.clone(), places: vec![Some(1), Some(2)], missing: vec![0] });
        // Nothing is found at all.
        let chosen = kept.choose(Vec::new(), true);
        assert_eq!(chosen, Chosen { gpus: list, places: vec![], missing: vec![0, 1, 2] });
    }

    #[test]
    fn what_is_declared_wins() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        kept.choose(vec![gpu(0, Some("a"))], false);
        let declared = Gpu { family: Family::Declared, ..gpu(0, None) };
        assert_eq!(kept.choose(vec![declared.clone()], true).gpus, [declared]);
    }

    #[test]
    fn a_list_that_makes_no_sense_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gpus.json"), "{").unwrap();
        assert_eq!(Kept::at(folder.path()).choose(vec![gpu(0, None)], true).gpus, [gpu(0, None)]);
    }
}
