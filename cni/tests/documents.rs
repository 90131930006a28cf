//! The documents, against the program.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use ringport_cni::conf::{parse, schema};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Follows references, and takes of alternatives the one that is not null.
fn resolved<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(reference) = node["$ref"].as_str() {
        return resolved(root, root.pointer(reference.trim_start_matches('#')).unwrap());
    }
    let alternatives = node["anyOf"].as_array().into_iter().flatten();
    let given = alternatives.into_iter().find(|node| node["type"] != "null");
    given.map_or(node, |given| resolved(root, given))
}

/// Keys below a node, as the document writes them; `container` has the form of `host`.
fn keys_of(root: &Value, node: &Value, prefix: &str, keys: &mut BTreeSet<String>) {
    for (name, member) in resolved(root, node)["properties"].as_object().into_iter().flatten() {
        let key = format!("{prefix}{name}");
        keys.insert(key.clone());
        if key == "container" {
            assert_eq!(member["$ref"], root["properties"]["host"]["$ref"]);
            continue;
        }
        keys_of(root, member, &format!("{key}."), keys);
        keys_of(root, &resolved(root, member)["items"], &format!("{key}[]."), keys);
    }
}

/// First cells of all tables with six columns: those are about keys.
fn documented() -> Vec<String> {
    let text = document("CONFIGURATION.md");
    let rows = text.lines().filter(|line| line.matches('|').count() == 7);
    let cells = rows.filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
    cells.map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn configuration_keys_are_those_of_the_schema() {
    let root = schema();
    let mut keys = BTreeSet::new();
    keys_of(&root, &root, "", &mut keys);
    let documented = documented();
    let once: BTreeSet<String> = documented.iter().cloned().collect();
    assert_eq!(once.len(), documented.len(), "a key is there twice");
    let missing: Vec<_> = keys.difference(&once).collect();
    let unknown: Vec<_> = once.difference(&keys).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    assert!(once.contains("host.memif.ringSize") && once.contains("host.rxPlacement[].queue"));
}

#[test]
fn configurations_in_documents_parse_without_a_warning() {
    let mut count = 0;
    for name in ["README.md", "MIGRATION.md", "TUTORIAL.md"] {
        let text = document(name);
        for block in text.split("```json\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let mut conf: Value = serde_json::from_str(block).unwrap();
            // A piece of a configuration is one of the network that the text is about.
            if conf.get("name").is_none() {
                conf["name"] = "piece".into();
                conf["type"] = "userspace".into();
            }
            let parsed = parse(conf.to_string().as_bytes()).unwrap();
            assert_eq!(parsed.unknown, Vec::<String>::new(), "{name}: {block}");
            count += 1;
        }
    }
    assert!(count >= 2);
}

#[test]
fn links_between_documents_lead_somewhere() {
    for name in ["README.md", "CONFIGURATION.md", "MIGRATION.md", "TUTORIAL.md"] {
        for link in document(name).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.starts_with("http") {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
                assert!(path.exists(), "{name}: {target}");
            }
        }
    }
}
