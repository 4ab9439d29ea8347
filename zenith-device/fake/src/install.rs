//! Puts the stand-in where a test wants it, with its script beside it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::script::Script;

const FILE: &str = "libzenith_fakenvml.so";

/// Copies the library into `folder`, with `script` beside it; where it lies then.
///
/// # Errors
/// When the library was not built beside the running test, or files cannot be written.
pub fn install(folder: &Path, script: &Script) -> io::Result<PathBuf> {
    install_without(folder, script, &[])
}

/// As [`install`], of a library that lacks some of its entry points.
///
/// # Errors
/// As for [`install`], and when the library has no such entry point.
pub fn install_without(folder: &Path, script: &Script, symbols: &[&str]) -> io::Result<PathBuf> {
    let mut library = fs::read(built()?)?;
    for symbol in symbols {
        hide(&mut library, symbol)?;
    }
    let path = folder.join(FILE);
    fs::write(&path, library)?;
    rewrite(&path, script)?;
    Ok(path)
}

/// Gives the library at `path` another script; it reads it when it is started and whenever somebody waits for errors.
///
/// # Errors
/// When the file cannot be written.
pub fn rewrite(path: &Path, script: &Script) -> io::Result<()> {
    // Renamed into place, so that nobody reads half of it.
    let (place, half) = (script_of(path), path.with_extension("half"));
    fs::write(&half, serde_json::to_vec_pretty(script)?)?;
    fs::rename(half, place)
}

/// Where the script of a library lies.
pub(crate) fn script_of(library: &Path) -> PathBuf {
    let mut path = library.as_os_str().to_owned();
    path.push(".json");
    PathBuf::from(path)
}

/// The library: cargo builds it beside every test and example that depends on this crate.
fn built() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folders = program.ancestors().skip(1).take(2);
    let candidates: Vec<PathBuf> = folders.flat_map(|f| [f.join(FILE), f.join("deps").join(FILE)]).collect();
    candidates.iter().find(|path| path.exists()).cloned().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{FILE} is at none of {candidates:?}: build zenith-fakenvml"),
        )
    })
}

/// Renames a symbol in the tables of a shared library, so that it cannot be found. Its place in the hash table stays,
/// and the comparison of names then fails.
fn hide(library: &mut [u8], symbol: &str) -> io::Result<()> {
    let needle = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let mut found = false;
    let mut from = 0;
    while let Some(place) = library[from..].windows(needle.len()).position(|bytes| bytes == needle) {
        library[from + place + 1] = b'_';
        from += place + needle.len() - 1;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{symbol} is no entry point of the stand-in")))
    }
}
