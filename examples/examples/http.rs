//! A web server on a memif, without an interface of the kernel: `ringport`'s device below smoltcp.
//!
//! ```console
//! $ cargo run --release -p ringport-examples --example http -- \
//!       memif:/run/web.sock,role=server --address 10.0.0.2/24
//! ```
//!
//! Whoever is at the other end of the memif, a switch or a router, gets `GET /` answered at that address.

use anyhow::Context;
use clap::Parser;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::smoltcp::PortDevice;
use ringport_memif::{ControlError, EventKind, Link, Port, RxQueue, TxQueue};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};
use std::io::Write;
use std::os::fd::AsFd;

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Bytes that a connection may be behind, each way.
const BUFFER: usize = 64 << 10;
/// Longest header of a request, in bytes.
const HEADER_MAX: usize = 8 << 10;
/// A client that is silent for so long is left.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest IP packet, in bytes.
const MTU: usize = 1500;

#[derive(Debug, Parser)]
#[command(about = "A web server on a memif, without an interface of the kernel")]
struct Options {
    /// The port, such as memif:/run/web.sock,role=server
    port: String,
    /// Its address, such as 10.0.0.2/24 or fd00::2/64
    #[arg(long, value_parser = |text: &str| text.parse::<IpCidr>().map_err(|()| "no address with prefix"))]
    address: IpCidr,
    /// Its MAC address
    #[arg(long, default_value = "02:00:00:00:00:02")]
    #[arg(value_parser = |text: &str| text.parse::<EthernetAddress>().map_err(|()| "no MAC address"))]
    mac: EthernetAddress,
    /// TCP port
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    listen: u16,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut port = Port::open(&options.port).context("cannot open the port")?;
    let mut event = None;
    loop {
        event = match event {
            Some(EventKind::LinkUp(link)) => serve(*link, &mut port, &options)?,
            Some(other) => {
                writeln!(std::io::stderr(), "{other:?}")?;
                next(&mut port, None)?
            }
            // Nothing yet, or again.
            None => next(&mut port, None)?,
        };
    }
}

/// What happens to the port within some time.
fn next(
    port: &mut Port,
    timeout: Option<std::time::Duration>,
) -> Result<Option<EventKind>, ControlError> {
    Ok(port.poll(timeout)?.map(|event| event.kind))
}

/// Serves until something happens to the link.
fn serve(mut link: Link, port: &mut Port, options: &Options) -> anyhow::Result<Option<EventKind>> {
    let (rx, tx) = (link.rx.swap_remove(0), link.tx.swap_remove(0));
    let mut device = PortDevice::new(rx, tx, Medium::Ethernet, MTU);
    let config = Config::new(options.mac.into());
    let mut interface = Interface::new(config, &mut device, Instant::now());
    // There is room for one.
    interface.update_ip_addrs(|addresses| _ = addresses.push(options.address));
    let mut sockets = SocketSet::new(Vec::new());
    let mut connections: Vec<Connection> =
        (0..CONNECTIONS).map(|_| Connection::new(&mut sockets)).collect();
    loop {
        interface.poll(Instant::now(), &mut device, &mut sockets);
        for connection in &mut connections {
            connection.serve(sockets.get_mut(connection.handle), options.listen);
        }
        match device.arm() {
            // Frames are waiting.
            Ok(true) => continue,
            Ok(false) => {}
            // The port knows more.
            Err(_) => return Ok(next(port, None)?),
        }
        let delay = interface.poll_delay(Instant::now(), &sockets);
        wait(port, &device, delay)?;
        if let Some(event) = next(port, Some(std::time::Duration::ZERO))? {
            return Ok(Some(event));
        }
    }
}

/// Sleeps until a frame comes, the link changes, or smoltcp has something to do.
fn wait(
    port: &Port,
    device: &PortDevice<RxQueue, TxQueue>,
    delay: Option<Duration>,
) -> anyhow::Result<()> {
    let timeout = delay.map_or(PollTimeout::NONE, |delay| {
        // Rounded up, or the last fraction of a millisecond is spent polling.
        let millis = delay.total_millis() + u64::from(delay != Duration::ZERO);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    });
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    match poll(&mut [readable(port.as_fd()), readable(device.doorbell())], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("poll"),
    }
}

/// One of the connections that there can be, and what it has said so far.
struct Connection {
    handle: SocketHandle,
    request: Vec<u8>,
    /// What is left to say; nothing before the request is whole.
    answer: Option<Vec<u8>>,
}

impl Connection {
    fn new(sockets: &mut SocketSet<'_>) -> Self {
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_timeout(Some(PATIENCE));
        Self { handle: sockets.add(socket), request: Vec::new(), answer: None }
    }

    /// Goes on with whatever this connection is at.
    fn serve(&mut self, socket: &mut Socket<'_>, listen: u16) {
        if !socket.is_open() {
            self.request.clear();
            self.answer = None;
            // The port is not 0, which is all that could be wrong.
            let _ = socket.listen(listen);
            return;
        }
        if self.answer.is_none() && socket.can_recv() {
            let request = &mut self.request;
            let _ = socket.recv(|bytes| (bytes.len(), request.extend_from_slice(bytes)));
            self.answer = answer(&self.request);
        }
        let Some(answer) = &mut self.answer else { return };
        if socket.can_send() {
            let sent = socket.send_slice(answer).unwrap_or(0);
            answer.drain(..sent);
        }
        if answer.is_empty() {
            socket.close();
        }
    }
}

/// What a request gets, once its header is whole.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let whole = request.windows(4).any(|bytes| bytes == b"\r\n\r\n");
    let (status, body) = match request.split(|byte| *byte == b' ').next() {
        _ if request.len() > HEADER_MAX => ("431 Request Header Fields Too Large", String::new()),
        _ if !whole => return None,
        Some(b"GET") if request.starts_with(b"GET / ") => ("200 OK", page()),
        Some(b"GET") => ("404 Not Found", String::new()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    Some([head.as_bytes(), body.as_bytes()].concat())
}

fn page() -> String {
    "This page came over a memif; the kernel has not seen a packet of it.\n".to_owned()
}
