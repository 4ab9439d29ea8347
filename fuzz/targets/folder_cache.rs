//! The file table kept of a folder: arbitrary bytes in the place of the kept one, framed and summed as if they had been
//! written. Whatever passes for a table must let every file be named and have a class.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::folder::{FolderIndex, Tree};

/// How the table is kept.
const KIND: &str = "files";
const VERSION: u32 = 1;

struct Folder {
    dir: tempfile::TempDir,
    root: std::path::PathBuf,
    cache: CacheDir,
    true_table: Vec<u8>,
}

fn folder() -> &'static Folder {
    static FOLDER: OnceLock<Folder> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("data");
        for (class, file) in [("a", "1.jpg"), ("a", "2.png"), ("b", "3.jpg"), ("b", "t.csv")] {
            std::fs::create_dir_all(root.join(class)).expect("a folder");
            std::fs::write(root.join(class).join(file), b"").expect("a file");
        }
        let root = root.canonicalize().expect("the folder");
        let cache = CacheDir::at(dir.path().join("cache"));
        let tree = Tree::scan(&root, &cache).expect("a folder");
        assert_eq!(tree.in_folders(), 3);
        // Fails when the table is kept in another way, so that this target does not go on feeding what nobody reads.
        let true_table = cache
            .read(KIND, VERSION, root.to_str().expect("a plain path").as_bytes())
            .expect("the table is kept under another name or version");
        Folder {
            dir,
            root,
            cache,
            true_table,
        }
    })
}

fuzz_target!(|input: &[u8]| {
    let Folder {
        dir,
        root,
        cache,
        true_table,
    } = folder();
    let Some((&mode, bytes)) = input.split_first() else {
        return;
    };
    // Times of directories cannot be guessed: with the true table as a base a kept one may be believed.
    let table = match mode & 1 {
        0 => bytes.to_vec(),
        _ => {
            let mut table = true_table.clone();
            for (byte, change) in table.iter_mut().zip(bytes) {
                *byte ^= change;
            }
            table
        }
    };
    assert!(dir.path().exists());
    cache.write(
        KIND,
        VERSION,
        root.to_str().unwrap_or_default().as_bytes(),
        &table,
    );
    // A table with the right times may name folders that are not there; those cannot be scanned.
    let Ok(tree) = Tree::scan(root, cache) else {
        return;
    };
    let files = tree.in_root() + tree.in_folders();
    let mut name = Vec::new();
    for index in [FolderIndex::flat(tree.clone()), FolderIndex::classes(tree)] {
        // A table without a picture or a class is refused.
        let Ok(index) = index else {
            continue;
        };
        for sample in 0..files {
            if index.path(sample).is_some() {
                index.relative(sample, &mut name);
                assert_eq!(name.last(), Some(&0), "a path without an end");
                let class = index.label(sample);
                assert!(class.is_none_or(|class| (class as usize) < index.class_names().len()));
            }
        }
    }
});
