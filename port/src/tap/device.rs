//! Making the interface.

use super::settings::Settings;
use super::sys::{self, IntIoctl, InterfaceIoctl};
use super::{TapConfig, TapError, TapOffload};
use crate::error::CallError;
use crate::virtio_net::HEADER;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc::{self, c_int, c_short};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

/// What the kernel is asked for: Ethernet frames, no protocol number, a virtio header in front.
const FLAGS: c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// An interface, as a file.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) fd: OwnedFd,
    pub(super) name: String,
}

impl Device {
    /// Makes the interface that `config` describes and brings it up.
    pub(super) fn make(config: &TapConfig) -> Result<Self, TapError> {
        config.check()?;
        match &config.netns {
            None => Self::make_here(config),
            Some(path) => Self::make_in(path, config),
        }
    }

    /// Makes it in another network namespace: from a thread, which that is a property of.
    fn make_in(path: &Path, config: &TapConfig) -> Result<Self, TapError> {
        let refused = |source| TapError::Namespace { path: path.to_owned(), source };
        let namespace = File::open(path).map_err(refused)?;
        let make = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| refused(errno.into()))?;
            Self::make_here(config)
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, make);
            let thread = thread.map_err(CallError::io("start a thread"))?;
            thread.join().unwrap_or_else(|_| Err(refused(io::Error::other("the thread died"))))
        })
    }

    fn make_here(config: &TapConfig) -> Result<Self, TapError> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = open("/dev/net/tun", flags, Mode::empty());
        let fd = fd.map_err(|errno| TapError::NoDevice(errno.into()))?;
        let name = attach(&fd, &config.name)
            .map_err(|errno| TapError::Make { name: config.name.clone(), source: errno.into() })?;
        let device = Self { fd, name };
        device.configure(config.offload)?;
        let settings = Settings::new(&device.name)?;
        settings.apply(config)?;
        Ok(device)
    }

    /// Agrees with the kernel on what its packets look like.
    fn configure(&self, offload: TapOffload) -> Result<(), TapError> {
        let fd = self.fd.as_fd();
        let set = |what| {
            move |errno: Errno| TapError::Set {
                what,
                name: self.name.clone(),
                source: errno.into(),
            }
        };
        let header = HEADER.cast_signed();
        sys::int_ioctl(fd, IntIoctl::HeaderLen, header).map_err(set("length of packet headers"))?;
        sys::int_ioctl(fd, IntIoctl::LittleEndian, 1)
            .map_err(set("byte order of packet headers"))?;
        let checksum = libc::TUN_F_CSUM;
        let segmentation = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        let flags = match offload {
            TapOffload::None => 0,
            TapOffload::Checksum => checksum,
            TapOffload::Segmentation => checksum | segmentation,
        };
        sys::set_offload(fd, flags).map_err(set("offloads"))
    }
}

/// Makes the file that of the interface `name`, which is made if it is not there, and returns the name
/// that it really has.
fn attach(fd: &OwnedFd, name: &str) -> Result<String, Errno> {
    let mut request = super::settings::request(name);
    request.ifr_ifru.ifru_flags = c_short::try_from(FLAGS).map_err(|_| Errno::EINVAL)?;
    sys::interface_ioctl(fd.as_fd(), InterfaceIoctl::Attach, &mut request)?;
    Ok(super::settings::name(&request))
}
