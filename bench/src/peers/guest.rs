//! Linux guests in QEMU, with virtio network devices whose other end is a vhost-user socket or a TAP.
//!
//! `./ci.sh guest-kit` makes what they are started from (see `bench/guest`). They are emulated, so that
//! they run where nothing is virtualised: what passes through them says nothing about speed elsewhere.
//!
//! ```no_run
//! use ringport_bench::peers::guest::{Guest, Nic};
//! use ringport_bench::peers::require_guest;
//! # fn main() -> Result<(), ringport_bench::peers::PeerError> {
//! let Some(_peer) = require_guest("guest_answers") else { return Ok(()) };
//! // A vhost-user device listens there.
//! let mut guest = Guest::new().nic(Nic::vhost_user("/tmp/v.sock")).start()?;
//! guest.run("ip link set eth0 up; ip address add 10.0.0.2/24 dev eth0; ping -c 1 10.0.0.1")?;
//! # Ok(()) }
//! ```

mod kit;
mod nic;
mod qmp;
mod running;
mod shell;

pub use nic::Nic;
pub use running::{Answer, RunningGuest};

use super::{CommandGuard, PeerError};
use kit::Files;
pub(super) use kit::KIT;
use shell::Shell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a guest may take to start, and to answer. It takes some seconds when it has a core.
const DEADLINE: Duration = Duration::from_secs(180);

/// What the kernel is told: to say little, to leave out what takes an emulated CPU long, and not to give up
/// when its timer is late, as on a busy machine.
const KERNEL: &str =
    "console=ttyS0 quiet panic=-1 no_timer_check mitigations=off nokaslr cryptomgr.notests";

/// Why no guest can be had here, if none can.
#[must_use]
pub fn missing() -> Option<String> {
    KIT.find().err()
}

/// How a guest is to be started.
#[derive(Debug, Clone)]
pub struct Guest {
    nics: Vec<Nic>,
    vcpus: u16,
    megabytes: u32,
    incoming: Option<PathBuf>,
}

impl Default for Guest {
    fn default() -> Self {
        Self { nics: Vec::new(), vcpus: 1, megabytes: 160, incoming: None }
    }
}

impl Guest {
    /// One CPU, 160 MB, no network device yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a network device: the first one is `eth0` in the guest.
    #[must_use]
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// Number of CPUs, each a thread of QEMU.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u16) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// Starts without booting, and waits for a guest that [migrates](RunningGuest::migrate) to this
    /// socket. It then stays paused until [`resume`](RunningGuest::resume).
    #[must_use]
    pub fn incoming(mut self, socket: impl Into<PathBuf>) -> Self {
        self.incoming = Some(socket.into());
        self
    }

    /// Starts it, and waits until it has booted; of an [incoming](Self::incoming) one, until it can be
    /// migrated to.
    ///
    /// # Errors
    /// When there is no kit, or QEMU or the guest does not start: the end of what they said is in the
    /// error.
    pub fn start(self) -> Result<RunningGuest, PeerError> {
        let is_incoming = self.incoming.is_some();
        let mut guest = self.spawn()?;
        if is_incoming {
            guest.wait_incoming()?
        } else {
            guest.wait_boot()?
        }
        Ok(guest)
    }

    /// Starts it and does not wait. QEMU goes on only when each vhost-user device is there.
    ///
    /// # Errors
    /// When there is no kit, or QEMU cannot be started.
    pub fn spawn(self) -> Result<RunningGuest, PeerError> {
        let kit = Files::find().map_err(unexpected)?;
        let dir = tempfile::Builder::new().prefix("ringport-guest-").tempdir();
        let dir = dir.map_err(|error| PeerError::io("a directory for a guest", error))?;
        let mut command = Command::new(kit.qemu());
        command.env("LD_LIBRARY_PATH", kit.libraries()).args(self.arguments(&kit));
        for (name, option, value) in
            [("shell", "-serial", "chardev:shell"), ("qmp", "-mon", "chardev=qmp,mode=control")]
        {
            let path = dir.path().join(name);
            let socket = format!("socket,id={name},path={},server=on,wait=on", path.display());
            command.args(["-chardev", &socket, option, value]);
        }
        let mut process = CommandGuard::spawn("qemu", &mut command)?;
        // QEMU waits for both, one after the other.
        let shell = Shell::new(shell::connect(&dir.path().join("shell"), &mut process)?);
        let qmp = qmp::Qmp::new(shell::connect(&dir.path().join("qmp"), &mut process)?);
        Ok(RunningGuest::new(process, shell, qmp, dir, self.megabytes))
    }

    fn arguments(&self, kit: &Files) -> Vec<OsString> {
        let (memory, vcpus) = (self.megabytes, self.vcpus);
        let mut text = format!(
            "-machine q35,memory-backend=memory -accel tcg,thread=multi -cpu max -smp {vcpus} -m {memory} \
             -object memory-backend-memfd,id=memory,size={memory}M,share=on \
             -nodefaults -no-user-config -display none -serial stdio"
        );
        for (number, nic) in self.nics.iter().enumerate() {
            text.push_str(&nic.arguments(number));
        }
        let mut all: Vec<OsString> = text.split_whitespace().map(Into::into).collect();
        for directory in kit.firmware() {
            all.extend(["-L".into(), directory.into()]);
        }
        let files = [("-kernel", kit.kernel()), ("-initrd", kit.initramfs())];
        all.extend(files.into_iter().flat_map(|(option, file)| [option.into(), file.into()]));
        all.extend(["-append".into(), KERNEL.into()]);
        if let Some(socket) = &self.incoming {
            all.extend(["-S".into(), "-incoming".into()]);
            all.push(format!("unix:{}", socket.display()).into());
        }
        all
    }
}

fn unexpected(what: String) -> PeerError {
    PeerError::Unexpected { name: "guest".into(), what }
}
