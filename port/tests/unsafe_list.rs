//! `UNSAFE.md` lists the unsafe code of what users get: all of it, and nothing else.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LIST: &str = include_str!("../UNSAFE.md");

/// Crates that are part of what users get, but for this one.
const OTHERS: [&str; 5] = ["memif", "vhost-user", "vdpa", "cni", "examples"];

/// File and blocks of each row.
fn listed() -> BTreeMap<String, usize> {
    let rows = LIST.lines().filter(|line| line.starts_with("| `src/"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2].parse().unwrap())
    })
    .collect()
}

/// Unsafe blocks, functions and implementations of each file below `directory` that has some.
fn found(directory: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let count = code.filter(|line| is_unsafe(line)).count();
            if count > 0 {
                let name = path.strip_prefix(directory).unwrap();
                found.insert(name.display().to_string(), count);
            }
        }
    }
    found
}

fn is_unsafe(line: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|it| line.contains(it))
}

#[test]
fn list_names_every_file_with_unsafe_code_and_how_much_it_has() {
    assert_eq!(listed(), found(Path::new(env!("CARGO_MANIFEST_DIR"))));
}

#[test]
fn crates_of_protocols_and_tools_have_no_unsafe_code() {
    for name in OTHERS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        assert_eq!(found(&directory), BTreeMap::new(), "{name}");
    }
}
