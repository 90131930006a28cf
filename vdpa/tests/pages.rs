//! What the pages tell people to type, against the programs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use ringport_vdpa::daemon::settings;
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGES: [&str; 3] = ["README.md", "MIGRATION.md", "systemd/ringport-vdpad.service"];

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Command lines that begin with a program of ours: those of code blocks, of code in the text, of the unit.
fn commands(page: &str) -> Vec<Vec<String>> {
    let joined = page.replace("\\\n", " ").replace("/usr/bin/", "");
    let code = joined.split(['`', '\n', '=']).map(str::trim);
    let ours = code.filter(|text| text.starts_with("ringport-vd"));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    ours.map(words).collect()
}

fn program(name: &str) -> &'static str {
    match name {
        "ringport-vdpad" => env!("CARGO_BIN_EXE_ringport-vdpad"),
        "ringport-vdpactl" => env!("CARGO_BIN_EXE_ringport-vdpactl"),
        "ringport-vdpa-lookup" => env!("CARGO_BIN_EXE_ringport-vdpa-lookup"),
        "ringport-vdpa-client" => env!("CARGO_BIN_EXE_ringport-vdpa-client"),
        _ => panic!("{name}: no such program"),
    }
}

#[test]
fn command_lines_of_the_pages_are_understood() {
    let mut understood = 0;
    for command in PAGES.iter().flat_map(|name| commands(&page(name))) {
        let (name, arguments) = command.split_first().unwrap();
        // Options that are none are refused before help is given.
        let output = Command::new(program(name)).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        understood += 1;
    }
    assert!(understood >= 12, "{understood}");
    let wrong = Command::new(program("ringport-vdpad")).args(["--lokup", "a", "--help"]).output();
    assert_eq!(wrong.unwrap().status.code(), Some(2), "this test can fail");
}

#[test]
fn configuration_of_the_page_is_read() {
    let text = page("README.md");
    let toml = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let settings = settings::parse(toml).unwrap();
    assert_eq!((settings.discover, settings.devices.len()), (Some(true), 1));
    assert!(settings.metrics.is_some());
}

#[test]
fn settings_that_messages_name_are_on_the_page() {
    let text = page("README.md");
    let messages = ["RLIMIT_MEMLOCK", "max_iotlb_entries", "ACCESS_PLATFORM", "IOMMU"];
    let sources = ["src/device/error.rs", "src/vhost_vdpa/limits.rs", "src/relay/error.rs"];
    let source: String = sources.iter().map(|name| page(name)).collect();
    for word in messages {
        assert!(text.contains(word) && source.contains(word), "{word}");
    }
}
