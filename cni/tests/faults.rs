//! Logs that cannot be written, and runtimes that do not listen, are no reason to fail; on a fake VPP.

#![cfg(feature = "vpp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use support::call::Runtime;
use support::vpp::lab::Lab;

#[test]
fn log_file_that_cannot_be_opened_is_told_on_standard_error_and_nothing_fails() {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    let directory = lab.base();
    for file in ["/nonexistent/log", &directory, "/dev/null/log"] {
        runtime.conf["logFile"] = json!(file);
        let answer = runtime.call("ADD").ok();
        assert!(answer.stderr.contains("cannot open the log file"), "{answer:?}");
        assert_eq!(answer.json()["cniVersion"], "1.1.0");
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

#[test]
fn log_on_a_full_disk_does_not_end_the_plugin() {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    runtime.conf["logLevel"] = json!("verbose");
    runtime.conf["logFile"] = json!("/dev/full");
    for verb in ["ADD", "DEL"] {
        runtime.call(verb).ok();
    }
    lab.nothing_left(&runtime);
}

/// Runs a verb whose standard output and error go elsewhere; says whether it succeeded.
fn call_to(runtime: &Runtime, verb: &str, [stdout, stderr]: [Stdio; 2]) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_userspace"));
    command.env_clear().env("CNI_COMMAND", verb);
    let command = runtime.attachment(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).spawn().unwrap();
    child.stdin.take().unwrap().write_all(runtime.conf.to_string().as_bytes()).unwrap();
    child.wait().unwrap().success()
}

fn full() -> Stdio {
    Stdio::from(File::options().write(true).open("/dev/full").unwrap())
}

/// Nobody reads it any more.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    Stdio::from(writer)
}

#[test]
fn standard_error_that_cannot_be_written_does_not_end_the_plugin() {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    runtime.conf["logLevel"] = json!("verbose");
    for log in ["", "/dev/full", "/nonexistent/log"] {
        runtime.conf["logFile"] = json!(log);
        for stderr in [full, closed] {
            assert!(call_to(&runtime, "ADD", [Stdio::null(), stderr()]), "{log}");
            assert_eq!(lab.interfaces().len(), 1);
            assert!(call_to(&runtime, "DEL", [Stdio::null(), stderr()]), "{log}");
            lab.nothing_left(&runtime);
        }
    }
}

/// A result that nobody gets is no success; the runtime's DEL takes the attachment away.
#[test]
fn add_whose_result_cannot_be_written_fails_and_del_leaves_nothing() {
    let lab = Lab::fake("").unwrap();
    let runtime = lab.memif();
    for stdout in [full, closed] {
        assert!(!call_to(&runtime, "ADD", [stdout(), Stdio::null()]));
        assert!(call_to(&runtime, "DEL", [stdout(), Stdio::null()]));
        lab.nothing_left(&runtime);
    }
}
