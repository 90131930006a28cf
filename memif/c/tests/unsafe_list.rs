//! `UNSAFE.md` lists the unsafe code of this crate: all of it, and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LIST: &str = include_str!("../UNSAFE.md");

/// File and blocks of each row.
fn listed() -> BTreeMap<String, usize> {
    let rows = LIST.lines().filter(|line| line.starts_with("| `src/"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2].parse().unwrap())
    })
    .collect()
}

/// Unsafe blocks, functions and implementations of each file that has some.
fn found() -> BTreeMap<String, usize> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut left) = (BTreeMap::new(), vec![directory.join("src")]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let count = code.filter(|line| is_unsafe(line)).count();
        if count > 0 {
            found.insert(path.strip_prefix(directory).unwrap().display().to_string(), count);
        }
    }
    found
}

fn is_unsafe(line: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|it| line.contains(it))
}

#[test]
fn list_names_every_file_with_unsafe_code_and_how_much_it_has() {
    assert_eq!(listed(), found());
}
