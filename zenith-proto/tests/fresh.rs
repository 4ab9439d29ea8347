//! The generated code is what the text says. `ZENITH_BLESS=1 cargo test -p zenith-proto` writes it.

use std::path::PathBuf;
use std::{env, fs};

#[test]
fn the_code_is_made_from_the_text() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let out = env::temp_dir().join(format!("zenith-proto-{}", std::process::id()));
    fs::create_dir_all(&out).unwrap();
    let descriptors = protox::compile([root.join("proto/zenith.proto")], [root.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .out_dir(&out)
        .build_transport(false)
        .btree_map(".")
        .compile_fds(descriptors)
        .unwrap();
    let made = fs::read_to_string(out.join("zenith.v1.rs")).unwrap();
    fs::remove_dir_all(&out).unwrap();
    let path = root.join("src/generated/zenith.v1.rs");
    if env::var_os("ZENITH_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(made == kept, "{} is out of date: ZENITH_BLESS=1 cargo test -p zenith-proto", path.display());
}
