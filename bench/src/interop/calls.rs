//! Counts the system calls of what a test does, for tests that say "none".
//!
//! The test traces a second process of itself, which does it.

use super::traced::{Lost, Traced};
use super::{Outcome, PATIENCE};
use crate::peers::{CommandGuard, skip};
use nix::errno::Errno;
use nix::unistd::{Pid, alarm, getppid, gettid};
use std::io::Write;
use std::process::Command;

/// Set in the process that is traced.
const CHILD: &str = "RINGPORT_SYSTEM_CALLS_CHILD";

/// Seconds after which that process is ended, whatever it waits for.
const CHILD_LIFE: u32 = 60;

/// What is counted: a name, what to do, and the least system calls. Zero means none at all.
#[derive(Debug)]
pub struct Case<S>(pub &'static str, pub fn(&mut S), pub usize);

/// Runs `cases` one after another in a process of their own, on what `scene` makes there, and checks
/// the number of system calls that the thread makes in each. `test` is the name of the calling test.
/// Skips it where tracing is not permitted.
///
/// # Errors
/// The case that made more or less calls, or that the process ended.
#[expect(clippy::print_stdout, reason = "what was counted is part of a test's output")]
pub fn assert_system_calls<S>(test: &str, scene: impl FnOnce() -> S, cases: &[Case<S>]) -> Outcome {
    if std::env::var_os(CHILD).is_some() {
        return be_traced(scene, cases);
    }
    let (mut child, thread) = start(test)?;
    let traced = match Traced::seize(thread) {
        Err(Lost::Call(Errno::EPERM)) => {
            skip(test, "ptrace is not permitted");
            return Ok(());
        }
        seized => seized?,
    };
    child.stdin().ok_or("its input is closed")?.write_all(b"\n")?;
    let count = |name| {
        let calls = traced.calls_to_marker();
        calls.map_err(|error| format!("{name}: {error}; it printed:\n{}", child.log()))
    };
    count("the beginning")?;
    for Case(name, _, least) in cases {
        let calls = count(name)?;
        let (made, first) = (calls.len(), &calls[..calls.len().min(5)]);
        println!("{name}: {made} system calls {first:?}");
        if made < *least || (*least == 0 && made > 0) {
            return Err(format!("{name}: {made} system calls, first {first:?}").into());
        }
    }
    drop(traced);
    match child.wait_end(PATIENCE)? {
        Some(status) if status.success() => Ok(()),
        status => Err(format!("{status:?}:\n{}", child.log()).into()),
    }
}

/// What the traced process does: a marker before each of the cases, and one behind the last.
#[expect(clippy::print_stdout, reason = "tells the tracing process which thread to trace")]
fn be_traced<S>(scene: impl FnOnce() -> S, cases: &[Case<S>]) -> Outcome {
    alarm::set(CHILD_LIFE);
    let mut scene = scene();
    println!("tid {}", gettid());
    if std::io::stdin().read_line(&mut String::new())? == 0 {
        return Ok(());
    }
    getppid();
    for Case(_, run, _) in cases {
        run(&mut scene);
        getppid();
    }
    Ok(())
}

/// Starts this test as the process to be traced; returns the thread that waits to go on.
fn start(test: &str) -> Outcome<(CommandGuard, Pid)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    let mut child = CommandGuard::spawn("the traced process", &mut command)?;
    let line = child.wait_for_line("tid ", PATIENCE)?;
    let thread = line.rsplit(' ').next().unwrap_or_default().parse()?;
    Ok((child, Pid::from_raw(thread)))
}
