//! The table of what went wrong elsewhere names tests that exist.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

/// Names of the functions in the files below `dir` that are tests.
fn tests_below(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // In `proptest!` the attribute is followed by the function as well.
            let marked = text.split("#[test]").skip(1);
            let functions = marked.filter_map(|behind| behind.split_once("fn "));
            names.extend(functions.filter_map(|(_, name)| Some(name.split_once('(')?.0.into())));
            let lists = text.split("for_both_layouts! {").skip(1);
            let lists = lists.filter_map(|behind| behind.split_once('}'));
            names.extend(lists.flat_map(|(list, _)| list.split_whitespace().map(String::from)));
        }
    }
}

#[test]
fn every_row_names_tests_that_exist() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    tests_below(&package.join("src"), &mut names);
    tests_below(&package.join("tests"), &mut names);
    let table = std::fs::read_to_string(package.join("HOSTILE.md")).unwrap();
    let headings = ["| report |", "| what a peer", "|---"];
    let is_row = |line: &&str| {
        line.starts_with('|') && !headings.iter().any(|heading| line.starts_with(heading))
    };
    let rows: Vec<_> = table.lines().filter(is_row).collect();
    assert!(rows.len() > 60, "{} rows", rows.len());
    let mut missing = Vec::new();
    for row in rows {
        let cell = row.trim_end_matches([' ', '|']).rsplit_once('|').unwrap().1;
        let named: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        if named.is_empty() || !named.iter().all(|name| names.contains(*name)) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "rows without a test that exists:\n{}", missing.join("\n"));
}
