//! `HOSTILE.md` names tests that exist, and has a row for each test of what it is about.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("../HOSTILE.md");

/// Files of which each test has its row.
const OF_HOSTILITY: [&str; 10] = [
    "tests/relay_hostile.rs",
    "tests/relay_hostile_fds.rs",
    "tests/relay_hostile_floods.rs",
    "tests/relay_hostile_messages.rs",
    "tests/relay_traps.rs",
    "src/vhost_vdpa/limits/tests.rs",
    "src/vhost_vdpa/tests.rs",
    "src/vfio_virtio/tests.rs",
    "src/vfio_virtio/open/tests.rs",
    "src/vfio_virtio/layout/tests.rs",
];
/// Tests in them that are of nothing hostile.
const OF_NOTHING_HOSTILE: [&str; 5] = [
    "memory_in_reach_beside_other_memory_is_fit",
    "holes_leave_what_is_around_them",
    "locked_memory_is_read_in_kibibytes",
    "function_says_what_it_can_do_and_is_reset_afterwards",
    "function_that_is_not_ready_is_refused_with_what_would_help",
];

/// Names of the functions in a file, or in those below a directory, that are tests.
fn tests_in(path: &Path, names: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            tests_in(&entry.unwrap().path(), names);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = std::fs::read_to_string(path).unwrap();
        let marked = text.split("#[test]").skip(1);
        let functions = marked.filter_map(|behind| behind.split_once("fn "));
        names.extend(functions.filter_map(|(_, name)| Some(name.split_once('(')?.0.into())));
    }
}

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names in code marks that are tests' by their form.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2)
}

/// First and last cell of each row.
fn rows() -> Vec<(&'static str, &'static str)> {
    let headings = ["|---", "| a front-end that |", "| a device that |", "| trap |"];
    let rows = TABLE.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|line| !headings.iter().any(|heading| line.starts_with(heading)));
    rows.map(|row| row.trim_matches('|').split_once('|').unwrap()).collect()
}

#[test]
fn every_row_names_tests_that_exist() {
    let mut names = BTreeSet::new();
    for path in ["src", "tests", "../vhost-user/tests"] {
        tests_in(&package(path), &mut names);
    }
    let rows = rows();
    assert!(rows.len() > 80, "{} rows", rows.len());
    for (what, cell) in rows {
        let missing: Vec<_> = named(cell).filter(|name| !names.contains(*name)).collect();
        assert!(missing.is_empty(), "{what}: there are no tests {missing:?}");
        assert!(named(cell).next().is_some(), "{what}: an empty cell");
    }
}

#[test]
fn every_test_of_hostility_has_its_row() {
    let mut tests = BTreeSet::new();
    for path in OF_HOSTILITY {
        assert!(package(path).is_file(), "{path}");
        tests_in(&package(path), &mut tests);
    }
    assert!(tests.len() > 80, "{} tests", tests.len());
    let rows = rows();
    let listed: BTreeSet<_> = rows.iter().flat_map(|(_, cell)| named(cell)).collect();
    let is_listed = |test: &str| listed.contains(test) || OF_NOTHING_HOSTILE.contains(&test);
    let missing: Vec<_> = tests.iter().filter(|test| !is_listed(test)).collect();
    assert!(missing.is_empty(), "tests without a row: {missing:?}");
    assert!(OF_NOTHING_HOSTILE.iter().all(|name| tests.contains(*name)), "a name of the past");
}
