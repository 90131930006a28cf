//! `HOSTILE.md` names tests that exist, and has a row for each test of a hostile peer.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

const TABLE: &str = include_str!("../HOSTILE.md");

/// Names of the functions in a file, or in those below a directory, that are tests.
fn tests_in(path: &Path, names: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            tests_in(&entry.unwrap().path(), names);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = std::fs::read_to_string(path).unwrap();
        // In `proptest!` the attribute is followed by the function as well.
        let marked = text.split("#[test]").skip(1);
        let functions = marked.filter_map(|behind| behind.split_once("fn "));
        names.extend(functions.filter_map(|(_, name)| Some(name.split_once('(')?.0.into())));
    }
}

fn package(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names in code marks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn rows() -> Vec<Vec<&'static str>> {
    let rows = TABLE.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|line| !line.starts_with("|---") && !line.starts_with("| a peer that"));
    rows.map(|row| row.trim_matches('|').split('|').collect()).collect()
}

#[test]
fn every_cell_names_tests_that_exist_or_says_why_there_are_none() {
    let mut names = BTreeSet::new();
    for path in ["src", "tests", "../port/src", "../port/tests"] {
        tests_in(&package(path), &mut names);
    }
    let rows = rows();
    assert!(rows.len() > 50, "{} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        for cell in &row[1..] {
            let missing: Vec<_> = named(cell).filter(|name| !names.contains(*name)).collect();
            assert!(missing.is_empty(), "{}: there are no tests {missing:?}", row[0]);
            let reason = cell.trim().starts_with("cannot");
            assert!(reason || named(cell).next().is_some(), "{}: an empty cell", row[0]);
        }
        assert!(row[1..].iter().any(|cell| named(cell).next().is_some()), "{}", row[0]);
    }
}

#[test]
fn every_test_of_a_hostile_peer_has_its_row() {
    let mut tests = BTreeSet::new();
    for path in
        ["tests/control_hostile.rs", "tests/driver_hostile.rs", "src/queue/tests/hostile.rs"]
    {
        tests_in(&package(path), &mut tests);
    }
    assert!(tests.len() > 60, "{} tests", tests.len());
    let rows = rows();
    let listed: BTreeSet<_> = rows.iter().flatten().flat_map(|cell| named(cell)).collect();
    let missing: Vec<_> = tests.iter().filter(|test| !listed.contains(test.as_str())).collect();
    assert!(missing.is_empty(), "tests without a row: {missing:?}");
}
