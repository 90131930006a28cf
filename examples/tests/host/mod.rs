//! Hosts: threads in network namespaces of their own, which are gone with the test.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use crate::support::wait_for;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::unistd::gettid;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Protocols by which a host tells where it is.
pub const ARP: u16 = 0x0806;
pub const RARP: u16 = 0x8035;

type Job = Box<dyn FnOnce() + Send>;

pub struct Host {
    path: String,
    jobs: Sender<Job>,
}

/// Hosts for `test`; `None`: they cannot be had here, and the test must return.
pub fn hosts<const N: usize>(test: &str) -> Option<[Host; N]> {
    let hosts = [(); N].map(|()| Host::new());
    if let Some(Err(why)) = hosts.iter().find(|host| host.is_err()) {
        ringport_bench::peers::skip(test, why);
        return None;
    }
    Some(hosts.map(Result::unwrap))
}

impl Host {
    fn new() -> Result<Self, String> {
        if !std::path::Path::new("/dev/net/tun").exists() {
            return Err("there is no /dev/net/tun".into());
        }
        let (jobs, todo) = channel::<Job>();
        let (there, here) = channel();
        std::thread::spawn(move || {
            let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid());
            there.send(unshare(CloneFlags::CLONE_NEWNET).map(|()| path)).unwrap();
            todo.into_iter().for_each(|job| job());
        });
        let path =
            here.recv().unwrap().map_err(|errno| format!("no network namespace: {errno}"))?;
        Ok(Self { path, jobs })
    }

    /// The file of its namespace.
    pub fn path(&self) -> String {
        self.path.clone()
    }

    /// Does something there. What it opens stays there.
    #[track_caller]
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = Box::new(move || {
            let _ = done.send(work());
        });
        self.jobs.send(job).unwrap();
        result.recv().unwrap()
    }

    #[track_caller]
    pub fn ip(&self, arguments: &'static str) {
        let output = self.run(|| Command::new("ip").args(arguments.split(' ')).output().unwrap());
        assert!(output.status.success(), "ip {arguments}: {output:?}");
    }

    pub fn has(&self, interface: &str) -> bool {
        let interface = interface.to_owned();
        self.run(move || nix::net::if_::if_nametoindex(interface.as_str()).is_ok())
    }

    /// Asks `address` again and again until it answers: one echo of ICMP.
    #[track_caller]
    pub fn ping(&self, address: [u8; 4]) {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
        let socket =
            self.run(move || socket(AddressFamily::Inet, kind, flags, SockProtocol::Icmp).unwrap());
        let [a, b, c, d] = address;
        let to = SockaddrIn::new(a, b, c, d, 0);
        wait_for("an answer to a ping", || {
            // Type 8, the checksum of that and of the number 1.
            let _ =
                sendto(socket.as_raw_fd(), &[8, 0, 0xf7, 0xfe, 0, 0, 0, 1], &to, MsgFlags::empty());
            let mut answer = [0; 64];
            let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
            // Behind an IP header without options: type 0.
            (len >= 28 && answer[12..16] == address && answer[20] == 0).then_some(())
        });
    }

    /// Counts frames longer than `len` bytes until it is `over`.
    pub fn count_longer(&self, len: usize, over: Arc<AtomicBool>) -> JoinHandle<usize> {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
        let all = SockProtocol::EthAll;
        let socket = self.run(move || socket(AddressFamily::Packet, kind, flags, all).unwrap());
        std::thread::spawn(move || {
            let (mut count, mut frame) = (0, [0; 64]);
            loop {
                match recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_TRUNC) {
                    Ok(found) => count += usize::from(found > len),
                    Err(_) if over.load(Ordering::Relaxed) => return count,
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
                }
            }
        })
    }

    /// Looks whether whoever has the address `mac` tells everybody behind `interface` where it is, from now
    /// on, and by which protocol: its number in the Ethernet header.
    pub fn announcements(
        &self,
        interface: &'static str,
        mac: [u8; 6],
    ) -> impl FnMut() -> Option<u16> {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
        let all = SockProtocol::EthAll;
        let socket = self.run(move || {
            let socket = socket(AddressFamily::Packet, kind, flags, all).unwrap();
            let name = std::ffi::OsString::from(interface);
            setsockopt(&socket, sockopt::BindToDevice, &name).unwrap();
            socket
        });
        move || {
            let mut frame = [0; 64];
            while let Ok(len) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                let protocol = u16::from_be_bytes([frame[12], frame[13]]);
                // ARP in which who asks and who is asked for have the same address.
                let gratuitous = protocol == ARP && frame[28..32] == frame[38..42];
                if len >= 42 && frame[6..12] == mac && (protocol == RARP || gratuitous) {
                    return Some(protocol);
                }
            }
            None
        }
    }

    /// Sends datagrams to everybody on 10.0.0.0/24 until it is `over`.
    pub fn flood(&self, over: Arc<AtomicBool>) -> JoinHandle<()> {
        self.flood_to([10, 0, 0, 255], 16, over)
    }

    /// Sends `many` datagrams a millisecond to `address` until it is `over`.
    pub fn flood_to(&self, address: [u8; 4], many: usize, over: Arc<AtomicBool>) -> JoinHandle<()> {
        let socket = self.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_broadcast(true).unwrap();
            socket
        });
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // Nowhere to go, once the interface is gone.
                for _ in 0..many {
                    let _ = socket.send_to(&[0; 1000], (Ipv4Addr::from(address), 9));
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        })
    }
}
