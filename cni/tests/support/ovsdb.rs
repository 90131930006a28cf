//! Databases of Open vSwitch.

use super::{DEADLINE, until};
use nix::sys::signal::Signal;
use ringport_bench::peers::{CommandGuard, find_program, skip};
use ringport_cni::engines::ovs::Database;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A database server with an empty database, in a directory of its own.
pub(crate) struct Ovsdb {
    pub(crate) directory: TempDir,
    options: Vec<String>,
    server: CommandGuard,
}

impl Ovsdb {
    /// Starts one. `None`: the programs are not here, and the test was reported as skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &["--remote=ptcp:0:127.0.0.1".to_owned()])
    }

    /// Starts one with options instead of a TCP port.
    pub(crate) fn start_with(test: &str, options: &[String]) -> Option<Self> {
        let (Some(tool), Some(server)) = (find_program("ovsdb-tool"), find_program("ovsdb-server"))
        else {
            skip(test, "ovsdb-server is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("conf.db");
        let made = Command::new(tool).arg("create").arg(&file).arg(SCHEMA).status().unwrap();
        assert!(made.success());
        let options = options.to_vec();
        let server = spawn(&server, directory.path(), &options);
        let this = Self { directory, options, server };
        until("ovsdb-server listens", || UnixStream::connect(this.socket()).is_ok());
        this.database(DEADLINE)
            .transact(vec![serde_json::json!({"op": "insert", "table": "Open_vSwitch", "row": {}})])
            .unwrap();
        Some(this)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("db.sock")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The port that the server's log says it listens on.
    pub(crate) fn tcp_port(&self) -> u16 {
        let log = std::fs::read_to_string(self.path().join("ovsdb.log")).unwrap();
        let line = log.lines().find(|line| line.contains("listening on port")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn database(&self, timeout: Duration) -> Database {
        Database::connect(&self.address(), timeout).unwrap()
    }

    /// Names of all rows of a table, sorted.
    pub(crate) fn names(&self, table: &str) -> Vec<String> {
        let rows = self.database(DEADLINE).select(table, &serde_json::json!([]), &["name"]);
        let mut names: Vec<String> =
            rows.unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// Starts the server again after [`Self::stop`].
    pub(crate) fn restart(&mut self) {
        let program = find_program("ovsdb-server").unwrap();
        self.server = spawn(&program, self.directory.path(), &self.options);
        until("ovsdb-server listens", || UnixStream::connect(self.socket()).is_ok());
    }

    /// Ends the server, as an outage.
    pub(crate) fn stop(&mut self) {
        self.server.signal(Signal::SIGKILL).unwrap();
        self.server.wait_end(DEADLINE).unwrap().unwrap();
    }
}

fn spawn(program: &Path, directory: &Path, options: &[String]) -> CommandGuard {
    let mut command = Command::new(program);
    command
        .arg(directory.join("conf.db"))
        .arg(format!("--remote=punix:{}", directory.join("db.sock").display()))
        .args(options)
        .arg("--no-chdir")
        .arg(format!("--log-file={}", directory.join("ovsdb.log").display()))
        .arg(format!("--unixctl={}", directory.join("ctl").display()));
    CommandGuard::spawn("ovsdb-server", &mut command).unwrap()
}

impl Drop for Ovsdb {
    fn drop(&mut self) {
        let _ = self.server.signal(Signal::SIGKILL);
    }
}
