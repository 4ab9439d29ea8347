//! The structure of the repository as checks: who may depend on whom, how a file begins, how long it may be.
//!
//! What rustc and clippy can check is theirs; this is about the house, not about the code in it.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have.
const LONGEST: usize = 600;

/// The dependencies between crates that are allowed; any other edge is a fault. Only leaves compose.
const EDGES: [(&str, &[&str]); 13] = [
    ("zenith-runtime-cpu", &[]),
    ("zenith-data", &["zenith-runtime-cpu"]),
    ("zenith-device", &["zenith-runtime-cpu", "zenith-fakenvml"]),
    ("zenith-device/fake", &[]),
    ("zenith-runtime-gpu", &["zenith-runtime-cpu", "zenith-device", "zenith-fakenvml", "zenith-fakecuda"]),
    ("zenith-runtime-gpu/fake", &[]),
    ("zenith-proto", &[]),
    ("zenith-scheduler", &["zenith-proto", "zenith-device", "zenith-fakenvml"]),
    ("zenith-plugin", &["zenith-runtime-cpu", "zenith-data"]),
    (
        "zenith-cli",
        &[
            "zenith-runtime-cpu",
            "zenith-data",
            "zenith-device",
            "zenith-runtime-gpu",
            "zenith-plugin",
            "zenith-proto",
            "zenith-scheduler",
        ],
    ),
    ("zenith-bench", &["zenith-runtime-cpu", "zenith-data", "zenith-plugin"]),
    (
        "sdk-python",
        &[
            "zenith-runtime-cpu",
            "zenith-data",
            "zenith-device",
            "zenith-runtime-gpu",
            "zenith-plugin",
            "zenith-proto",
            "zenith-scheduler",
            "zenith-cli",
        ],
    ),
    ("xtask", &[]),
];

/// Names that a crate must not depend on, with the reason.
const ABSENT: [(&str, &[&str], &str); 3] = [
    (
        "zenith-runtime-cpu",
        &["pyo3", "tokio", "arrow-array", "parquet", "cudarc"],
        "the machine knows no Python, tokio, Arrow or CUDA",
    ),
    (
        "zenith-runtime-gpu",
        &["pyo3", "tokio", "arrow-array"],
        "the GPU runtime knows no Python, tokio or Arrow",
    ),
    ("zenith-data", &["pyo3", "tokio", "cudarc"], "the data plane knows no Python, tokio or CUDA"),
];

/// Names that say nothing about what is inside.
const DRAWERS: [&str; 6] = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "misc.rs"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Every fault, a line each.
pub(crate) fn all(root: &Path) -> Vec<String> {
    [
        dependencies(root),
        heads(root),
        sizes(root),
        lints(root),
        exceptions(root),
        drawers(root),
        unnamed(root),
    ]
    .concat()
}

fn manifest(path: &Path) -> toml::Table {
    fs::read_to_string(path).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn members(root: &Path) -> Vec<String> {
    let workspace = manifest(&root.join("Cargo.toml"));
    let members = workspace.get("workspace").and_then(|w| w.get("members")).and_then(|m| m.as_array());
    members.into_iter().flatten().filter_map(|m| m.as_str().map(str::to_owned)).collect()
}

fn dependencies(root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for member in members(root) {
        let table = manifest(&root.join(&member).join("Cargo.toml"));
        let names = depended_on(root, &table);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == member) else {
            faults.push(format!("{member}: say in xtask/src/tidy.rs what it may depend on"));
            continue;
        };
        for name in names.iter().filter(|name| name.starts_with("zenith-")) {
            if !allowed.contains(name) {
                faults.push(format!("{member}: must not depend on {name}"));
            }
        }
        for (_, absent, reason) in ABSENT.iter().filter(|(from, _, _)| *from == member) {
            for name in names.iter().filter(|name| absent.contains(name)) {
                faults.push(format!("{member}: must not depend on {name}: {reason}"));
            }
        }
    }
    faults
}

/// The packages a crate depends on, for whatever purpose and on whatever platform, by their own names.
fn depended_on(root: &Path, manifest_of_crate: &toml::Table) -> Vec<String> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let workspace = manifest(&root.join("Cargo.toml"));
    let shared = workspace.get("workspace").and_then(|w| w.get("dependencies"));
    let package = |entry: &toml::Value| entry.get("package").and_then(|p| p.as_str()).map(str::to_owned);
    let platforms = manifest_of_crate.get("target").and_then(|t| t.as_table());
    let platforms = platforms.into_iter().flat_map(|t| t.values()).filter_map(|p| p.as_table());
    let mut names: Vec<String> = std::iter::once(manifest_of_crate)
        .chain(platforms)
        .flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flatten()
        .map(|(name, entry)| {
            let inherited = || package(shared?.get(name)?);
            package(entry).or_else(inherited).unwrap_or_else(|| name.clone())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn heads(root: &Path) -> Vec<String> {
    let headless = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        !text.trim_start().starts_with("//!")
    };
    let fault = |path: &PathBuf| format!("{}: begin with `//!` and what the file is for", shown(root, path));
    sources(root, "rs").iter().filter(|path| headless(path)).map(fault).collect()
}

fn sizes(root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for path in [sources(root, "rs"), sources(root, "py")].concat() {
        let lines = fs::read_to_string(&path).unwrap_or_default().lines().count();
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        if lines > LONGEST && !is_test {
            faults
                .push(format!("{}: {lines} lines; split it by meaning below {LONGEST}", shown(root, &path)));
        }
    }
    faults
}

fn lints(root: &Path) -> Vec<String> {
    let inherits = |member: &String| {
        let table = manifest(&root.join(member).join("Cargo.toml"));
        table.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
    };
    let fault = |member: &String| format!("{member}: inherit the lints ([lints] workspace = true)");
    members(root).iter().filter(|member| !inherits(member)).map(fault).collect()
}

/// Lints are excepted by `expect`, which says when it is needed no more.
fn exceptions(root: &Path) -> Vec<String> {
    // Put together, so that this file is not a fault itself.
    let written = [["#[", "allow("].concat(), ["#![", "allow("].concat()];
    let mut faults = Vec::new();
    for path in sources(root, "rs") {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            if written.iter().any(|written| line.contains(written)) {
                let place = format!("{}:{}", shown(root, &path), number + 1);
                faults.push(format!("{place}: except a lint with `expect` and a reason"));
            }
        }
    }
    faults
}

fn drawers(root: &Path) -> Vec<String> {
    let is_drawer = |path: &&PathBuf| path.file_name().is_some_and(|name| DRAWERS.iter().any(|d| name == *d));
    let fault = |path: &PathBuf| format!("{}: name it by what is inside", shown(root, path));
    sources(root, "rs").iter().filter(is_drawer).map(fault).collect()
}

/// A file in the folder of a test that no module names is compiled by nothing, and shows nothing.
fn unnamed(root: &Path) -> Vec<String> {
    let all = sources(root, "rs");
    let is_in_tests = |folder: &Path| folder.parent().is_some_and(|above| above.ends_with("tests"));
    let mut faults = Vec::new();
    for main in all.iter().filter(|path| path.ends_with("main.rs")) {
        let Some(folder) = main.parent().filter(|folder| is_in_tests(folder)) else { continue };
        let text = fs::read_to_string(main).unwrap_or_default();
        for path in all.iter().filter(|path| path.parent() == Some(folder) && *path != main) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if !text.lines().any(|line| line.trim() == format!("mod {stem};")) {
                faults.push(format!("{}: no `mod` names it, so that nothing compiles it", shown(root, path)));
            }
        }
    }
    faults
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Every file with an ending, outside build folders, environments and what programs have made.
fn sources(root: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "out", "generated"].contains(&name.as_ref()) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let faults = all(&root());
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    }

    #[test]
    fn faults_are_found() {
        let dir = tempfile();
        let crate_dir = dir.join("zenith-data");
        fs::create_dir_all(crate_dir.join("src")).unwrap();
        fs::write(dir.join("Cargo.toml"), "[workspace]\nmembers = [\"zenith-data\"]\n").unwrap();
        fs::write(
            crate_dir.join("Cargo.toml"),
            "[package]\nname = \"zenith-data\"\n[dependencies]\nzenith-cli = \"1\"\npyo3 = \"1\"\n",
        )
        .unwrap();
        fs::write(crate_dir.join("src/utils.rs"), "fn f() {}\n".repeat(LONGEST + 1)).unwrap();
        let allowed = ["//! Head.\n#[", "allow(unused)]\nfn f() {}\n"].concat();
        fs::write(crate_dir.join("src/lib.rs"), allowed).unwrap();
        fs::create_dir_all(crate_dir.join("tests/api")).unwrap();
        fs::write(crate_dir.join("tests/api/main.rs"), "//! Head.\nmod named;\n").unwrap();
        for name in ["named.rs", "forgotten.rs"] {
            fs::write(crate_dir.join("tests/api").join(name), "//! Head.\n").unwrap();
        }
        let faults = all(&dir).join("\n");
        assert!(!faults.contains("named.rs"), "{faults}");
        for part in [
            "forgotten.rs: no `mod`",
            "zenith-cli",
            "pyo3",
            "//!",
            "601 lines",
            "inherit the lints",
            "by what is inside",
            "lib.rs:2: except a lint",
        ] {
            assert!(faults.contains(part), "{part:?} is not among:\n{faults}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn no_dependency_hides_by_its_table_or_its_name() {
        let dir = tempfile();
        fs::create_dir_all(dir.join("zenith-data")).unwrap();
        let workspace = "[workspace]\nmembers = [\"zenith-data\"]\n\
                         [workspace.dependencies]\nthreads = { package = \"tokio\", version = \"1\" }\n";
        fs::write(dir.join("Cargo.toml"), workspace).unwrap();
        for hidden in [
            "[dev-dependencies]\npyo3 = \"1\"",
            "[build-dependencies]\npyo3 = \"1\"",
            "[target.'cfg(unix)'.dependencies]\npyo3 = \"1\"",
            "[target.'cfg(unix)'.dev-dependencies]\nzenith-cli = { path = \"x\" }",
            "[dependencies]\nsnake = { package = \"pyo3\", version = \"1\" }",
            "[dependencies]\nthreads.workspace = true",
        ] {
            fs::write(dir.join("zenith-data/Cargo.toml"), hidden).unwrap();
            let faults = dependencies(&dir);
            assert!(faults.len() == 1 && faults[0].contains("must not depend on"), "{hidden}: {faults:?}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    fn tempfile() -> PathBuf {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("zenith-tidy-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}
