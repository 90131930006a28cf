//! The code that is generated from `proto/`, and checked in, is current. `RINGPORT_GENERATE=1` writes it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

#[test]
fn generated_code_is_that_of_the_files_in_proto() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    generate(&root.join("proto"), fresh.path());
    let kept = root.join("src/lookup/pb");
    let mut files = 0;
    for entry in fs::read_dir(fresh.path()).unwrap() {
        let path = entry.unwrap().path();
        let kept = kept.join(path.file_name().unwrap());
        let new = fs::read_to_string(&path).unwrap();
        if std::env::var_os("RINGPORT_GENERATE").is_some() {
            fs::write(&kept, &new).unwrap();
        }
        let old = fs::read_to_string(&kept).unwrap_or_default();
        assert!(
            old == new,
            "{} is out of date: RINGPORT_GENERATE=1 cargo test -p ringport-vdpa --test generated",
            kept.display()
        );
        files += 1;
    }
    assert_eq!(files, 2);
}

fn generate(from: &Path, to: &Path) {
    let files = ["vdpadpdk.proto", "ringport_vdpa.proto"];
    let descriptors = protox::compile(files, [from]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(to)
        .compile_fds(descriptors)
        .unwrap();
}
