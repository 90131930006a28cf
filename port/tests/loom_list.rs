//! `LOOM.md` lists the models: each one, with what it proves and within which bounds.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LIST: &str = include_str!("../LOOM.md");

/// Cells of each row that names a model.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = LIST.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Names and sources of the files that are for the model checker.
fn sources() -> Vec<(String, String)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = fs::read_dir(tests).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.is_file());
    let read = files.map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    });
    read.filter(|(_, text)| text.lines().any(|line| line == "#![cfg(loom)]")).collect()
}

#[test]
fn list_names_every_model_and_no_other() {
    let listed: BTreeSet<String> =
        rows().iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let mut found = BTreeSet::new();
    for (file, text) in sources() {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line == "#[test]" {
                let name = lines.next().unwrap().trim_start_matches("fn ");
                found.insert(format!("{file}::{}", name.split('(').next().unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    assert_eq!(listed, found);
}

#[test]
fn every_row_says_what_is_proved_and_with_how_much() {
    for row in rows() {
        assert_eq!(row.len(), 3, "{row:?}");
        assert!(row[1].len() > 20 && row[2].contains(|c: char| c.is_ascii_digit()), "{row:?}");
    }
}

#[test]
fn bound_of_the_list_is_that_of_every_model() {
    for (file, text) in sources() {
        let bounds: Vec<_> =
            text.lines().filter(|line| line.contains("preemption_bound")).collect();
        assert_eq!(bounds.len(), text.matches("model::Builder").count(), "{file}");
        assert!(bounds.iter().all(|line| line.trim() == "model.preemption_bound = Some(3);"));
    }
    assert!(LIST.contains("at most 3 switches"));
}
