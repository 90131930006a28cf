//! MTU, addresses and state of an interface, by the ioctls of netdevice(7): six calls, for which a
//! netlink library would be a tree of its own.

use super::sys::{self, InterfaceIoctl};
use super::{TapAddress, TapConfig, TapError};
use crate::error::CallError;
use nix::errno::Errno;
use nix::libc::{self, c_char, c_int, c_short, ifreq, sockaddr};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

/// Sets what an interface is like, in the calling thread's network namespace.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    name: &'a str,
    socket: OwnedFd,
}

impl<'a> Settings<'a> {
    pub(super) fn new(name: &'a str) -> Result<Self, TapError> {
        let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Inet, kind, flags, None);
        let socket = socket.map_err(CallError::errno("make a socket"))?;
        Ok(Self { name, socket })
    }

    /// Sets what `config` says, and brings the interface up.
    pub(super) fn apply(&self, config: &TapConfig) -> Result<(), TapError> {
        if let Some(mtu) = config.mtu {
            self.set("MTU", self.mtu(mtu))?;
        }
        if let Some(mac) = config.mac {
            self.set("MAC address", self.mac(mac))?;
        }
        self.set("state up", self.up())?;
        config.address.map_or(Ok(()), |address| self.set("address", self.address(address)))
    }

    fn set(&self, what: &'static str, outcome: Result<(), Errno>) -> Result<(), TapError> {
        let name = || self.name.to_owned();
        outcome.map_err(|errno| TapError::Set { what, name: name(), source: errno.into() })
    }

    fn mtu(&self, mtu: u32) -> Result<(), Errno> {
        let mut request = request(self.name);
        request.ifr_ifru.ifru_mtu = c_int::try_from(mtu).map_err(|_| Errno::EINVAL)?;
        self.call(InterfaceIoctl::SetMtu, &mut request)
    }

    fn mac(&self, mac: [u8; 6]) -> Result<(), Errno> {
        let mut request = request(self.name);
        request.ifr_ifru.ifru_hwaddr = socket_address(libc::ARPHRD_ETHER, 0, mac);
        self.call(InterfaceIoctl::SetHardwareAddress, &mut request)
    }

    /// Leaves an interface alone that is up already: it may be one whose state is not ours to set.
    fn up(&self) -> Result<(), Errno> {
        let mut request = request(self.name);
        self.call(InterfaceIoctl::GetFlags, &mut request)?;
        let (flags, up) = (sys::flags(&request), c_short::try_from(libc::IFF_UP).unwrap_or(1));
        if flags & up != 0 {
            return Ok(());
        }
        request.ifr_ifru.ifru_flags = flags | up;
        self.call(InterfaceIoctl::SetFlags, &mut request)
    }

    fn address(&self, address: TapAddress) -> Result<(), Errno> {
        match address.ip() {
            IpAddr::V4(ip) => self.ipv4(ip, address.prefix()),
            IpAddr::V6(ip) => self.ipv6(ip, address.prefix()),
        }
    }

    fn ipv4(&self, ip: Ipv4Addr, prefix: u8) -> Result<(), Errno> {
        let inet = c_short::try_from(libc::AF_INET).unwrap_or_default().unsigned_abs();
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let mut request = request(self.name);
        request.ifr_ifru.ifru_addr = socket_address(inet, 2, ip.octets());
        self.call(InterfaceIoctl::SetAddress, &mut request)?;
        request.ifr_ifru.ifru_netmask = socket_address(inet, 2, mask.to_be_bytes());
        self.call(InterfaceIoctl::SetNetmask, &mut request)
    }

    fn ipv6(&self, ip: Ipv6Addr, prefix: u8) -> Result<(), Errno> {
        let index = if_nametoindex(self.name)?;
        sys::add_ipv6(&libc::in6_ifreq {
            ifr6_addr: libc::in6_addr { s6_addr: ip.octets() },
            ifr6_prefixlen: prefix.into(),
            ifr6_ifindex: c_int::try_from(index).map_err(|_| Errno::ENODEV)?,
        })
    }

    fn call(&self, request: InterfaceIoctl, argument: &mut ifreq) -> Result<(), Errno> {
        sys::interface_ioctl(self.socket.as_fd(), request, argument)
    }
}

/// A request about the interface `name`, of which 15 bytes count.
pub(super) fn request(name: &str) -> ifreq {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_newname: [0; libc::IFNAMSIZ] };
    ifreq { ifr_name, ifr_ifru }
}

/// The name in a request.
pub(super) fn name(request: &ifreq) -> String {
    let bytes = request.ifr_name.iter().map(|byte| byte.to_ne_bytes()[0]);
    bytes.take_while(|&byte| byte != 0).map(char::from).collect()
}

/// An address, `skip` bytes into the data of a socket address.
fn socket_address<const N: usize>(family: u16, skip: usize, address: [u8; N]) -> sockaddr {
    let mut sa_data = [0; 14];
    for (to, from) in sa_data.iter_mut().skip(skip).zip(address) {
        *to = c_char::from_ne_bytes([from]);
    }
    sockaddr { sa_family: family, sa_data }
}
