//! A Linux guest whose network devices are `ringport tap`.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use crate::host::Host;
use crate::support::{PATIENCE, Place, Run, objects, wait_for};
use nix::sys::signal::Signal;
use ringport_bench::peers::guest::{Nic, RunningGuest};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// Bytes of a transfer.
pub const MANY: usize = 8 << 20;
/// Bytes that show that a link works.
pub const FEW: usize = 1 << 20;

/// A network device of the guest, and the interface behind it: 10.0.NUMBER.1 here, 10.0.NUMBER.2 there.
pub struct Wire {
    pub number: usize,
    /// The interface here.
    name: String,
    /// Whether the interface has the address; a port of a bridge has none.
    addressed: bool,
    place: Place,
    /// The port, with `SOCKET` for its socket.
    port: String,
    /// Options of `ringport tap`.
    options: Vec<String>,
    pub run: Option<Run>,
}

impl Wire {
    /// The device listens, or connects, with `items` of its port string; not started yet.
    pub fn new(number: usize, items: &str) -> Self {
        let port = format!("vhost:SOCKET,role=device,{items}");
        let port = port.trim_end_matches(',').to_owned();
        let (name, place) = (format!("t{number}"), Place::new());
        Self { number, name, addressed: true, place, port, options: Vec::new(), run: None }
    }

    /// With another interface here, which is to be a port of the bridge that has the address.
    pub fn bridged(mut self, name: &str) -> Self {
        (self.name, self.addressed) = (name.to_owned(), false);
        self
    }

    /// With options of `ringport tap`.
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self
    }

    /// The guest's device at this wire's socket.
    pub fn nic(&self) -> Nic {
        let socket = self.place.path("p.sock");
        if self.port.contains("socket=connect") {
            Nic::vhost_user_server(socket)
        } else {
            Nic::vhost_user(socket)
        }
    }

    /// The device's port string.
    pub fn port(&self) -> String {
        self.place.port(&self.port)
    }

    /// Waits until somebody listens for the guest.
    pub fn wait_socket(&self) {
        self.place.wait_socket();
    }

    /// Starts `ringport tap`, with the interface in the network namespace of `host`.
    pub fn start(&mut self, host: &Host) {
        let (port, netns) = (self.port(), host.path());
        let address = format!("10.0.{}.1/24", self.number);
        let mut arguments = vec!["tap", &port, "--name", &self.name, "--netns", &netns, "--json"];
        if self.addressed {
            arguments.extend(["--address", &address]);
        }
        arguments.extend(self.options.iter().map(String::as_str));
        self.run = Some(Run::start(&arguments));
        if !self.port.contains("socket=connect") {
            self.place.wait_socket();
        }
    }

    /// Kills `ringport tap`; its interface is gone with it.
    pub fn kill(&mut self, host: &Host) {
        let mut run = self.run.take().unwrap();
        run.signal(Signal::SIGKILL);
        run.end();
        wait_for("the interface to be gone", || (!host.has(&self.name)).then_some(()));
    }

    /// Ends `ringport tap`, and returns what it said last.
    #[track_caller]
    pub fn end(&mut self) -> Value {
        let mut run = self.run.take().unwrap();
        run.signal(Signal::SIGINT);
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        objects(&output.stdout).pop().unwrap()
    }

    /// Sets the guest's interface up.
    pub fn configure(&self, guest: &mut RunningGuest) {
        let n = self.number;
        let line = format!("ip link set eth{n} up; ip address add 10.0.{n}.2/24 dev eth{n}");
        guest.run(&line).unwrap();
    }

    /// Pings both ways.
    #[track_caller]
    pub fn ping(&self, host: &Host, guest: &mut RunningGuest) {
        let n = u8::try_from(self.number).unwrap();
        guest
            .run(&format!("for i in $(seq 20); do ping -c 1 -W 1 10.0.{n}.1 && exit; done; false"))
            .unwrap();
        host.ping([10, 0, n, 2]);
    }

    /// Sends `len` bytes by TCP to the guest and has it send them back, and compares them.
    #[track_caller]
    pub fn transfer(&self, host: &Host, guest: &mut RunningGuest, len: usize) {
        let n = self.number;
        let sent: Vec<u8> = bytes().take(len).collect();
        let (there, here) = (format!("10.0.{n}.2:5000"), format!("10.0.{n}.1:5001"));
        let listener = host.run(move || TcpListener::bind(here).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut to =
                    host.run(move || wait_for("a connection", || TcpStream::connect(&there).ok()));
                to.set_write_timeout(Some(PATIENCE)).unwrap();
                to.write_all(&sent).unwrap();
                to.shutdown(Shutdown::Write).unwrap();
                // The guest closes when it has everything.
                to.set_read_timeout(Some(PATIENCE)).unwrap();
                assert_eq!(to.read(&mut [0]).unwrap(), 0);
            });
            guest.run("nc -l -p 5000 >/tmp/data").unwrap();
        });
        let back = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let (mut from, _) = listener.accept().unwrap();
                from.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut back = Vec::new();
                from.read_to_end(&mut back).unwrap();
                back
            });
            guest.run(&format!("nc 10.0.{n}.1 5001 </tmp/data; rm /tmp/data")).unwrap();
            receiver.join().unwrap()
        });
        assert!(back == sent, "eth{n}: {} bytes of {len} came back, or others", back.len());
    }

    /// What the guest's driver and this device agreed on: bit by bit.
    pub fn features(&self, guest: &mut RunningGuest) -> u64 {
        let text =
            guest.run(&format!("cat /sys/class/net/eth{}/device/features", self.number)).unwrap();
        let bits = text.trim().bytes().enumerate().filter(|&(_, bit)| bit == b'1');
        bits.fold(0, |all, (at, _)| all | 1 << at)
    }

    /// Waits until the guest sees a cable, or sees none.
    #[track_caller]
    pub fn wait_carrier(&self, guest: &mut RunningGuest, up: bool) {
        let (line, wanted) = (self.attribute("carrier"), if up { "1" } else { "0" });
        wait_for("the guest's carrier", || {
            (guest.run(&line).unwrap().trim() == wanted).then_some(())
        });
    }

    /// The command that prints what the guest's kernel says of this device.
    pub fn attribute(&self, name: &str) -> String {
        format!("cat /sys/class/net/eth{}/{name}", self.number)
    }
}

/// Bytes that do not repeat soon.
fn bytes() -> impl Iterator<Item = u8> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(1u64), next).map(|state| state.to_be_bytes()[0])
}
