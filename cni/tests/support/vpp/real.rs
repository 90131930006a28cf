//! A real VPP of our own, as quiet as it can be.

use super::super::{DEADLINE, until};
use ringport_bench::peers::{CommandGuard, PeerLock, peer_by_path};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running VPP; it is killed when dropped.
pub(crate) struct RealVpp {
    process: Option<CommandGuard>,
    install: PathBuf,
    dir: PathBuf,
    prefix: String,
    starts: u32,
    _lock: PeerLock,
}

impl RealVpp {
    /// Starts the one that `RINGPORT_VPP` names, with everything that it writes in `dir`. `None`: the
    /// variable is not set, and the test was reported as skipped; no package has VPP.
    pub(crate) fn start(test: &str, dir: &Path) -> Option<Self> {
        let install = peer_by_path(test, "RINGPORT_VPP", "bin/vpp")?;
        let lock = PeerLock::acquire().unwrap();
        std::fs::create_dir(dir).unwrap();
        let mut this = Self {
            process: None,
            install,
            dir: dir.to_owned(),
            prefix: format!("ringport-cni-{}", std::process::id()),
            starts: 0,
            _lock: lock,
        };
        this.run();
        Some(this)
    }

    /// Kills it, as a crash would, and starts another one in its place.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.run();
    }

    pub(crate) fn api(&self) -> PathBuf {
        self.dir.join("api.sock")
    }

    /// What its command line says.
    pub(crate) fn show(&self, line: &str) -> String {
        let mut command = Command::new(self.install.join("bin/vppctl"));
        command.arg("-s").arg(self.dir.join("cli.sock")).args(line.split(' '));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.signal(nix::sys::signal::Signal::SIGKILL);
            let _ = process.wait_end(DEADLINE);
        }
        let segments = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        for entry in segments {
            if entry.file_name().to_string_lossy().starts_with(&self.prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn run(&mut self) {
        self.starts += 1;
        for socket in ["api.sock", "cli.sock"] {
            let _ = std::fs::remove_file(self.dir.join(socket));
        }
        let conf = self.dir.join("startup.conf");
        std::fs::write(&conf, self.configuration()).unwrap();
        let mut command = Command::new("nice");
        command.arg("-n15").arg(self.install.join("bin/vpp")).arg("-c").arg(&conf);
        let mut process = CommandGuard::spawn("vpp", &mut command).unwrap();
        until("VPP answers", || {
            process.check_running().unwrap();
            UnixStream::connect(self.dir.join("cli.sock")).is_ok() && self.api().exists()
        });
        self.process = Some(process);
    }

    fn configuration(&self) -> String {
        let (install, dir) = (self.install.display(), self.dir.display());
        let prefix = format!("{}-{}", self.prefix, self.starts);
        format!(
            "unix {{ nodaemon cli-listen {dir}/cli.sock runtime-dir {dir} log {dir}/vpp.log \
             poll-sleep-usec 100 }}\n\
             socksvr {{ socket-name {dir}/api.sock }}\n\
             memory {{ main-heap-size 256M main-heap-page-size default }}\n\
             buffers {{ buffers-per-numa 16384 page-size default }}\n\
             cpu {{ main-core 0 }}\n\
             statseg {{ socket-name {dir}/stats.sock size 32M page-size default }}\n\
             api-segment {{ prefix {prefix} }}\n\
             plugins {{ path {install}/lib/x86_64-linux-gnu/vpp_plugins }}\n"
        )
    }
}

impl Drop for RealVpp {
    fn drop(&mut self) {
        self.stop();
    }
}
