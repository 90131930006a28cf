//! A VPP of our own: its directory, its sockets, its commands.

use super::{Outcome, PATIENCE, wait_until};
use ringport_bench::peers::CommandGuard;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A running VPP; it is stopped when dropped.
pub struct Vpp {
    process: CommandGuard,
    install: PathBuf,
    dir: PathBuf,
    prefix: String,
    started: u32,
}

impl Vpp {
    /// Starts the VPP at `install`, with everything that it writes in `dir`.
    pub fn start(install: &Path, dir: &Path) -> Outcome<Self> {
        Self::start_again(install, dir, 0)
    }

    fn start_again(install: &Path, dir: &Path, started: u32) -> Outcome<Self> {
        let prefix = format!("ringport-{}-{started}", std::process::id());
        let conf = dir.join("startup.conf");
        std::fs::write(&conf, configuration(install, dir, &prefix))?;
        let mut command = Command::new(install.join("bin/vpp"));
        let process = CommandGuard::spawn("vpp", command.arg("-c").arg(&conf))?;
        let mut vpp = Self { process, install: install.into(), dir: dir.into(), prefix, started };
        wait_until("vpp to answer", || {
            vpp.process.check_running()?;
            Ok(vpp.try_run("show version").ok())
        })?;
        Ok(vpp)
    }

    /// Kills it, as a crash would, and starts another one in its place.
    pub fn restart(self) -> Outcome<Self> {
        let (install, dir, started) = (self.install.clone(), self.dir.clone(), self.started + 1);
        let mut old = self;
        old.process.signal(nix::sys::signal::Signal::SIGKILL)?;
        old.process.wait_end(PATIENCE)?;
        drop(old);
        let _ = std::fs::remove_file(dir.join("cli.sock"));
        Self::start_again(&install, &dir, started)
    }

    fn vppctl(&self, line: &str) -> Command {
        let mut command = Command::new(self.install.join("bin/vppctl"));
        command.arg("-s").arg(self.dir.join("cli.sock")).args(line.split(' '));
        command
    }

    fn try_run(&self, line: &str) -> Outcome<String> {
        let output = self.vppctl(line).output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() { Ok(said) } else { Err(format!("{line}: {said}").into()) }
    }

    /// Runs a command of which VPP says nothing when it works.
    pub fn run(&self, line: &str) -> Outcome {
        let said = self.try_run(line)?;
        // Creating something prints its name.
        let names = ["memif", "VirtualEthernet"];
        let fine = said.is_empty() || names.iter().any(|name| said.starts_with(name));
        if fine { Ok(()) } else { Err(format!("{line}: {said}").into()) }
    }

    /// Runs a command and returns what it printed.
    pub fn show(&self, line: &str) -> Outcome<String> {
        self.try_run(line)
    }

    /// Runs a command that takes a while; what it prints is in its log when it has ended.
    pub fn begin(&self, line: &str) -> Outcome<CommandGuard> {
        Ok(CommandGuard::spawn("vppctl", &mut self.vppctl(line))?)
    }

    /// Fails when it has crashed.
    pub fn check_running(&mut self) -> Outcome {
        Ok(self.process.check_running()?)
    }
}

impl Drop for Vpp {
    fn drop(&mut self) {
        // It has nothing to save.
        let _ = self.process.signal(nix::sys::signal::Signal::SIGKILL);
        let _ = self.process.wait_end(Duration::from_secs(5));
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.prefix)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn configuration(install: &Path, dir: &Path, prefix: &str) -> String {
    let (install, dir) = (install.display(), dir.display());
    format!(
        "unix {{ nodaemon cli-listen {dir}/cli.sock runtime-dir {dir} log {dir}/vpp.log \
         poll-sleep-usec 100 }}\n\
         socksvr {{ socket-name {dir}/api.sock }}\n\
         memory {{ main-heap-size 256M main-heap-page-size default }}\n\
         buffers {{ buffers-per-numa 32768 page-size default }}\n\
         cpu {{ main-core 0 }}\n\
         statseg {{ socket-name {dir}/stats.sock size 32M page-size default }}\n\
         api-segment {{ prefix {prefix} }}\n\
         plugins {{ path {install}/lib/x86_64-linux-gnu/vpp_plugins }}\n"
    )
}
