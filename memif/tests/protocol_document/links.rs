//! References into the document lead somewhere.

use super::document::{TEXT, anchors};
use std::path::Path;

/// What follows each `mark` in `text`, up to a closing bracket.
fn behind<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    text.split(mark).skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

fn check_sources(path: &Path, count: &mut usize) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            check_sources(&entry.unwrap().path(), count);
        }
    } else {
        let text = std::fs::read_to_string(path).unwrap();
        for found in behind(&text, "(crate::protocol#") {
            assert!(anchors().contains(found), "{}: no heading for #{found}", path.display());
            *count += 1;
        }
    }
}

#[test]
fn links_from_the_crate_lead_to_headings() {
    let mut count = 0;
    check_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut count);
    assert!(count >= 20, "{count} links");
}

#[test]
fn links_within_the_document_lead_to_headings() {
    let found = behind(TEXT, "](#");
    assert!(found.len() >= 4);
    for link in found {
        assert!(anchors().contains(link), "no heading for #{link}");
    }
}

#[test]
fn links_from_other_documents_lead_to_headings() {
    let hostile = behind(include_str!("../../HOSTILE.md"), "](PROTOCOL.md#");
    assert!(!hostile.is_empty());
    for link in hostile {
        assert!(anchors().contains(link), "no heading for #{link}");
    }
}

#[test]
fn headings_are_unique() {
    let headings: Vec<_> = TEXT
        .split("\n```")
        .step_by(2)
        .flat_map(str::lines)
        .filter(|line| line.starts_with('#'))
        .collect();
    assert_eq!(headings.len(), anchors().len());
}
