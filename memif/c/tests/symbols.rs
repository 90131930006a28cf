//! The shared library exports what the header declares, by version, and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use support::library::{Library, crate_dir, find_or_skip, run};

const VERSION: &str = "RINGPORT_MEMIF_0.1";

/// Functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(crate_dir().join("include/ringport_memif.h")).unwrap();
    let code = header.lines().filter(|line| !line.starts_with([' ', '/', '#']));
    code.filter_map(|line| line.split_once('('))
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("ringport_memif_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_function_of_the_header_is_exported_with_its_version_and_nothing_else_is() {
    let test = "every_function_of_the_header_is_exported_with_its_version_and_nothing_else_is";
    let Some(_readelf) = find_or_skip(test, "readelf") else { return };
    let Some(library) = Library::install(test) else { return };
    let table = run(Command::new("readelf").args(["--dyn-syms", "--wide"]).arg(library.shared()));
    // Num: Value Size Type Bind Vis Ndx Name
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let defined = rows.filter(|row| row.len() >= 8 && row[4] != "Bind" && row[6] != "UND");
    let exported: BTreeSet<String> = defined
        // The version itself is a symbol, too.
        .filter(|row| !(row[6] == "ABS" && row[7].starts_with(VERSION)))
        .map(|row| row[7].to_owned())
        .collect();
    let wanted: BTreeSet<String> =
        declared().iter().map(|name| format!("{name}@@{VERSION}")).collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    assert_eq!(exported, wanted);
}

#[test]
fn shared_library_has_a_soname_and_asks_for_the_c_library_alone() {
    let test = "shared_library_has_a_soname_and_asks_for_the_c_library_alone";
    let Some(_readelf) = find_or_skip(test, "readelf") else { return };
    let Some(library) = Library::install(test) else { return };
    let table = run(Command::new("readelf").args(["--dynamic", "--wide"]).arg(library.shared()));
    let named = |kind: &str| -> BTreeSet<String> {
        let rows = table.lines().filter(|line| line.contains(kind));
        rows.filter_map(|row| Some(row.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
    };
    assert_eq!(named("(SONAME)"), BTreeSet::from(["libringport_memif.so.0.1".to_owned()]));
    let known = ["libc.so", "libgcc_s.so", "libm.so", "ld-linux"];
    for needed in named("(NEEDED)") {
        assert!(known.iter().any(|known| needed.starts_with(known)), "{needed}");
    }
}

#[test]
fn pkg_config_file_names_what_was_installed() {
    let Some(library) = Library::install("pkg_config_file_names_what_was_installed") else {
        return;
    };
    let file = library.directory("lib/pkgconfig/ringport_memif.pc");
    let file = fs::read_to_string(file).unwrap();
    assert!(!file.contains('@'), "{file}");
    assert!(file.contains(&format!("Version: {}", env!("CARGO_PKG_VERSION"))), "{file}");
    assert!(file.contains(&format!("libdir={}", library.directory("lib").display())), "{file}");
    assert!(library.directory("include/ringport_memif.h").is_file());
    assert!(library.directory("lib/libringport_memif.a").is_file());
    assert!(library.directory("lib/libringport_memif.so.0.1").exists());
}

#[test]
fn static_library_links_with_what_the_pkg_config_file_says() {
    let test = "static_library_links_with_what_the_pkg_config_file_says";
    let Some(library) = Library::install(test) else { return };
    let file = fs::read_to_string(library.directory("lib/pkgconfig/ringport_memif.pc")).unwrap();
    let private = file.lines().find_map(|line| line.strip_prefix("Libs.private: ")).unwrap();
    let archive = library.directory("lib/libringport_memif.a").display().to_string();
    let mut link = vec![archive.as_str()];
    link.extend(private.split(' '));
    let output = Command::new(library.compile_with("responder", &link)).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: "));
}
