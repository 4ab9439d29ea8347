//! Puts the stand-in where a test wants it, and asks a loaded one what is left in it.
#![expect(unsafe_code, reason = "asks the loaded library by a call of C")]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::script::{Census, Script};

const FILE: &str = "libzenith_fakecuda.so";

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
    fs::write(script_of(&path), serde_json::to_vec_pretty(script)?)?;
    Ok(path)
}

/// What there is in the library at `path`, which this process has loaded.
///
/// # Errors
/// When it cannot be loaded or is no stand-in.
pub fn census(path: &Path) -> io::Result<Census> {
    let mut census = Census::default();
    // SAFETY: the stand-in's start and end run no code; the function has the type that `entry` gives it and writes into
    // `census` alone. The handle is counted, so closing it leaves the library loaded for those who use it.
    unsafe {
        let library = libloading::Library::new(path).map_err(io::Error::other)?;
        let count: libloading::Symbol<'_, unsafe extern "C" fn(*mut Census)> =
            library.get(b"zenith_fakecuda_census\0").map_err(io::Error::other)?;
        count(&raw mut census);
    }
    Ok(census)
}

/// Where the script of a library lies.
pub(crate) fn script_of(library: &Path) -> PathBuf {
    let mut path = library.as_os_str().to_owned();
    path.push(".json");
    PathBuf::from(path)
}

/// The library: cargo builds it beside every test that depends on this crate.
fn built() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folders = program.ancestors().skip(1).take(2);
    let candidates: Vec<PathBuf> = folders.flat_map(|f| [f.join(FILE), f.join("deps").join(FILE)]).collect();
    let missing = || format!("{FILE} is at none of {candidates:?}: build zenith-fakecuda");
    let found = candidates.iter().find(|path| path.exists()).cloned();
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, missing()))
}

/// Renames a symbol in the tables of a shared library, so that a search for it fails where names are compared.
fn hide(library: &mut [u8], symbol: &str) -> io::Result<()> {
    let needle = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let places: Vec<usize> = library
        .windows(needle.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == needle)
        .map(|(at, _)| at)
        .collect();
    if places.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{symbol} is no entry point of the stand-in"),
        ));
    }
    for place in places {
        library[place + 1] = b'_';
    }
    Ok(())
}
