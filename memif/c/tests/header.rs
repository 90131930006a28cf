//! The header is what the source says, and compiles as C and as C++.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::library::{crate_dir, find_or_skip, run};

/// Where what C sees is, in the order in which it is to be read.
const SOURCES: [&str; 5] = ["error", "packet", "port", "rx", "tx"];

fn header() -> PathBuf {
    crate_dir().join("include/ringport_memif.h")
}

#[test]
fn committed_header_is_the_generated_one() {
    let config = cbindgen::Config::from_file(crate_dir().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(crate_dir().join("src").join(source).with_extension("rs"));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    if std::env::var_os("RINGPORT_WRITE_HEADER").is_some() {
        fs::write(header(), &generated).unwrap();
    }
    let committed = fs::read_to_string(header()).unwrap();
    let first = committed.lines().zip(generated.lines()).position(|(ours, new)| ours != new);
    assert_eq!(first.map(|line| line + 1), None, "the first line that differs");
    assert_eq!(committed.len(), generated.len(), "RINGPORT_WRITE_HEADER=1 writes it anew");
}

/// Compiles a file that is nothing but the header, twice.
fn compile(compiler: &str, standard: &str, extension: &str) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("header").with_extension(extension);
    let include = "#include <ringport_memif.h>\n";
    let call = "int main(void) { return ringport_memif_fd(0) == RINGPORT_MEMIF_E_INVALID; }\n";
    fs::write(&source, format!("{include}{include}{call}")).unwrap();
    let mut command = Command::new(compiler);
    command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"]);
    run(command.arg(header().parent().unwrap()).arg(source));
}

#[test]
fn header_compiles_as_c() {
    let test = "header_compiles_as_c";
    let Some(_cc) = find_or_skip(test, "cc") else { return };
    for standard in ["-std=c99", "-std=c11", "-std=gnu17"] {
        compile("cc", standard, "c");
    }
}

#[test]
fn header_compiles_as_cpp() {
    let test = "header_compiles_as_cpp";
    let Some(_cpp) = find_or_skip(test, "c++") else { return };
    for standard in ["-std=c++11", "-std=c++20"] {
        compile("c++", standard, "cc");
    }
}
