//! The `ringport` program as a user runs it.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Repeats `step` until it gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = step() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A run of the program, killed when dropped.
pub struct Run {
    child: Option<Child>,
    /// Its directory for temporary files.
    pub tmp: TempDir,
}

impl Run {
    /// Starts it without a home, in a directory that cannot be written.
    pub fn start(arguments: &[&str]) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ringport"))
            .args(arguments)
            .env_remove("HOME")
            .env("TMPDIR", tmp.path())
            .current_dir("/proc")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child: Some(child), tmp }
    }

    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().unwrap().id().try_into().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Reads lines of stdout until one contains `pattern`.
    #[track_caller]
    pub fn wait_stdout(&mut self, pattern: &str) {
        let stdout = BufReader::new(self.child().stdout.as_mut().unwrap());
        let found = stdout.lines().any(|line| line.unwrap().contains(pattern));
        assert!(found, "{pattern} was never written");
    }

    /// Reads lines of stderr until one contains `pattern`.
    #[track_caller]
    pub fn wait_stderr(&mut self, pattern: &str) {
        let stderr = BufReader::new(self.child().stderr.as_mut().unwrap());
        let found = stderr.lines().any(|line| line.unwrap().contains(pattern));
        assert!(found, "{pattern} was never written");
    }

    /// Waits for the end. Output is read only then, so there must not be much of it.
    #[track_caller]
    pub fn end(&mut self) -> Output {
        wait_for("the program to end", || self.child().try_wait().unwrap());
        self.child.take().unwrap().wait_with_output().unwrap()
    }

    #[track_caller]
    pub fn assert_no_files(&self) {
        let left: Vec<_> = std::fs::read_dir(self.tmp.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A directory with the socket of two ports.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A port string, with `SOCKET` in it replaced.
    pub fn port(&self, template: &str) -> String {
        template.replace("SOCKET", self.path("p.sock").to_str().unwrap())
    }

    /// Waits until somebody listens.
    #[track_caller]
    pub fn wait_socket(&self) {
        wait_for("the socket", || self.path("p.sock").exists().then_some(()));
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The objects that a program wrote, one a line.
#[track_caller]
pub fn objects(stdout: &[u8]) -> Vec<Value> {
    text(stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until a process is gone, or waits to be reaped by somebody else.
#[track_caller]
pub fn wait_gone(pid: i32) {
    wait_for("a process to end", || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
}

/// The one line on stderr that says what went wrong.
#[track_caller]
pub fn error_line(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors[..] else { panic!("not one error:\n{stderr}") };
    assert_eq!(stderr.lines().last(), Some(error));
    error.to_owned()
}
