//! The example `http`, and a client on the other end of the memif: both use the device for smoltcp.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use ringport::smoltcp::PortDevice;
use ringport_bench::peers::CommandGuard;
use ringport_memif::{Link, Port, RxQueue, TxQueue};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as Now;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);
const SERVER: IpAddress = IpAddress::v4(10, 0, 0, 2);

/// Where cargo puts examples beside tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/http")
}

fn start(socket: &Path) -> CommandGuard {
    let mut command = Command::new(example());
    command.arg(format!("memif:{},role=server", socket.display()));
    command.args(["--address", "10.0.0.2/24"]);
    CommandGuard::spawn("http", &mut command).unwrap()
}

/// A host on a memif.
struct Host {
    device: PortDevice<RxQueue, TxQueue>,
    interface: Interface,
    sockets: SocketSet<'static>,
    local_port: u16,
}

impl Host {
    fn new(mut link: Link) -> Self {
        let (rx, tx) = (link.rx.remove(0), link.tx.remove(0));
        let mut device = PortDevice::new(rx, tx, Medium::Ethernet, 1500);
        let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into());
        let mut interface = Interface::new(config, &mut device, Now::now());
        let address = IpCidr::new(IpAddress::v4(10, 0, 0, 1), 24);
        interface.update_ip_addrs(|addresses| addresses.push(address).unwrap());
        Self { device, interface, sockets: SocketSet::new(Vec::new()), local_port: 49152 }
    }

    /// Sends a request and returns everything that comes until the server closes.
    fn ask(&mut self, request: &str) -> String {
        let buffer = || SocketBuffer::new(vec![0; 64 << 10]);
        let handle = self.sockets.add(Socket::new(buffer(), buffer()));
        self.local_port += 1;
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket.connect(self.interface.context(), (SERVER, 80), self.local_port).unwrap();
        let mut rest = request.as_bytes();
        let mut answer = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "no end of `{}`", String::from_utf8_lossy(&answer));
            self.interface.poll(Now::now(), &mut self.device, &mut self.sockets);
            let socket = self.sockets.get_mut::<Socket<'_>>(handle);
            if socket.can_send() {
                rest = &rest[socket.send_slice(rest).unwrap()..];
            }
            if socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), answer.extend_from_slice(bytes))).unwrap();
            }
            // It may also reset what it has said enough to.
            let over = [State::CloseWait, State::Closed, State::TimeWait];
            if over.contains(&socket.state()) && !socket.can_recv() {
                socket.abort();
                break;
            }
        }
        self.interface.poll(Now::now(), &mut self.device, &mut self.sockets);
        self.sockets.remove(handle);
        String::from_utf8(answer).unwrap()
    }
}

fn connect(socket: &Path) -> (Port, Host) {
    let mut port = Port::open(&format!("memif:{},role=client", socket.display())).unwrap();
    let link = port.wait_link_up(DEADLINE).unwrap();
    (port, Host::new(link))
}

#[test]
fn page_comes_over_a_memif_again_and_again_and_after_the_link_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("web.sock");
    let _server = start(&socket);
    for _ in 0..2 {
        let (port, mut host) = connect(&socket);
        for _ in 0..100 {
            let answer = host.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with("not seen a packet of it.\n"), "{answer}");
        }
        port.close("done");
    }
}

#[test]
fn requests_that_are_wrong_or_endless_are_refused_and_the_next_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("web.sock");
    let _server = start(&socket);
    let (_port, mut host) = connect(&socket);
    let status = |answer: String| answer.get(9..12).unwrap_or_default().to_owned();
    assert_eq!(status(host.ask("GET /other HTTP/1.1\r\n\r\n")), "404");
    assert_eq!(status(host.ask("POST / HTTP/1.1\r\n\r\n")), "405");
    assert_eq!(status(host.ask("\r\n\r\n")), "405");
    assert_eq!(status(host.ask(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000)))), "431");
    assert_eq!(status(host.ask("GET / HTTP/1.1\r\n\r\n")), "200");
}
