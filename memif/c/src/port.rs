//! Ports: sockets, handshakes, links up and down, and the queues of a link.
#![expect(unsafe_code, reason = "functions that C calls by name, with pointers")]

mod state;

use crate::error::answer;
use crate::handle::{Kind, Table};
use crate::raw;
use crate::rx::{RX, Rx};
use crate::tx::{TX, Tx};
use state::State;
use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A port: one memif interface, in either role.
#[derive(Debug)]
pub struct Port {
    _opaque: [u8; 0],
}

/// A link is up; its queues can be taken.
pub const RINGPORT_MEMIF_LINK_UP: u32 = 1;
/// The link is down; its queues say so for ever. A later RINGPORT_MEMIF_LINK_UP brings new ones.
pub const RINGPORT_MEMIF_LINK_DOWN: u32 = 2;
/// An attempt ended before the link was up. A server turned a client away; a client that reconnects tries
/// again by itself.
pub const RINGPORT_MEMIF_REFUSED: u32 = 3;

/// Something that happened to a port.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Event {
    /// RINGPORT_MEMIF_LINK_UP, RINGPORT_MEMIF_LINK_DOWN, or RINGPORT_MEMIF_REFUSED.
    pub kind: u32,
    /// Why, as a code (RINGPORT_MEMIF_E_...); 0 for a link that is up, or that this side closed.
    pub error: i32,
    /// Receive queues of the link that is up, else 0.
    pub rx_queues: u32,
    /// Transmit queues of the link that is up, else 0.
    pub tx_queues: u32,
    /// Why, for people: what the peer said, or what went wrong; "" for a link that is up. Control
    /// characters of the peer are replaced.
    pub reason: [c_char; 240],
}

/// What is known of a link.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct LinkInfo {
    /// Number of the interface.
    pub id: u32,
    /// 1: this side is the server (master). 0: it is the client (slave).
    pub is_server: u32,
    /// Receive queues.
    pub rx_queues: u32,
    /// Transmit queues.
    pub tx_queues: u32,
    /// Slots in a ring; in the largest one when they differ.
    pub ring_size: u32,
    /// Bytes of a buffer; 0 on the server's side, where each slot says what it holds.
    pub buffer_size: u32,
    /// The peer's process when it connected or listened, as the kernel tells; 0 when it has no number here.
    pub peer_pid: u32,
    /// The peer's effective user.
    pub peer_uid: u32,
    /// The peer's effective group.
    pub peer_gid: u32,
    /// Version of the protocol: major in bits 15 to 8, minor below.
    pub version: u32,
    /// Name of the peer's application.
    pub peer_name: [c_char; 96],
    /// The peer's name of the interface.
    pub peer_if_name: [c_char; 96],
}

// Each byte of a structure for C is a field's.
const _: () = assert!(size_of::<Event>() == 256 && size_of::<LinkInfo>() == 232);

static PORTS: Table<State> = Table::new(Kind::Port);

/// Opens the port that a port string describes, such as "memif:/run/vpp/memif.sock,role=client,id=0", and
/// stores its handle. Listens, or starts to connect, and does not wait for the peer.
///
/// Returns 0, or RINGPORT_MEMIF_E_CONFIG, _SYSTEM, _LIMIT or _INVALID. What goes wrong with the peer later
/// is an event.
///
/// `port` is a string in UTF-8 of at most 4096 bytes; it is not kept. The handle is the caller's, to be
/// given to ringport_memif_close().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_open(port: *const c_char, opened: *mut *mut Port) -> c_int {
    let open = || {
        raw::check("opened", opened)?;
        // SAFETY: the caller's part: a string.
        let port = unsafe { raw::text("port", port) }?;
        let handle = PORTS.insert(State::new(ringport_memif::Port::open(port)?))?;
        // SAFETY: checked; that it can be written is the caller's part.
        unsafe { raw::put(opened, handle) };
        Ok(0)
    };
    answer(open())
}

/// Closes a port. The peer is told `reason`, of which 95 bytes are sent; NULL says "closed". Queues that
/// were taken stay the caller's, and say that their link is down. A server's socket file is removed with
/// the last port on it: a process that ends without this leaves the file behind, and the next server
/// replaces it.
///
/// Returns 0, RINGPORT_MEMIF_E_HANDLE when it was closed already, RINGPORT_MEMIF_E_BUSY while another
/// thread is in a call with it, or RINGPORT_MEMIF_E_INVALID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_close(port: *mut Port, reason: *const c_char) -> c_int {
    let close = || {
        let reason = match reason.is_null() {
            true => "closed",
            // SAFETY: the caller's part: a string.
            false => unsafe { raw::text("reason", reason) }?,
        };
        PORTS.remove(port)?.close(reason);
        Ok(0)
    };
    answer(close())
}

/// A descriptor for the caller's own poll() or epoll: readable when ringport_memif_poll() has something to
/// do, which includes timers. It belongs to the port: do not read, write or close it.
///
/// Returns the descriptor, or a negative code.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_fd(port: *mut Port) -> c_int {
    answer(PORTS.with(port, |state| Ok(state.fd().as_raw_fd())))
}

/// Runs a port until something happened, or `timeout_ms` milliseconds have passed: 0 does not wait, a
/// negative number waits for ever. Ports do nothing while nobody calls this: handshakes stand still, and
/// who calls late learns late that a link went down. Packets do not need it.
///
/// Returns 1 and stores the event; 0 when there was none in time, or with a negative `timeout_ms` when
/// nothing can ever happen again (reconnect=never); or a negative code. `size` is the size of the
/// structure that `event` points to: sizeof(ringport_memif_event). Bytes of it that this version of the
/// library does not know are set to zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_poll(
    port: *mut Port,
    timeout_ms: c_int,
    event: *mut Event,
    size: usize,
) -> c_int {
    let poll = |state: &mut State| {
        raw::check_struct("event", event, size)?;
        let Some((happened, _)) = state.poll(timeout(timeout_ms))? else { return Ok(0) };
        // SAFETY: checked; that it can be written is the caller's part.
        unsafe { raw::put_struct(event, size, &happened) };
        Ok(1)
    };
    answer(PORTS.with(port, poll))
}

/// Runs a port until its link is up, at most `timeout_ms` milliseconds; a negative number waits for ever.
/// Events on the way are consumed; refusals are waited out as long as the port tries again.
///
/// Returns 0 when the link is up, at once when it was already; RINGPORT_MEMIF_E_TIMEOUT, or what went
/// wrong last on the way.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_wait_link_up(port: *mut Port, timeout_ms: c_int) -> c_int {
    let wait = |state: &mut State| state.wait_link_up(timeout(timeout_ms)).map(|()| 0);
    answer(PORTS.with(port, wait))
}

/// Stores what is known of the link that is up. `size` is sizeof(ringport_memif_link_info); see
/// ringport_memif_poll().
///
/// Returns 0, RINGPORT_MEMIF_E_LINK_DOWN, or another negative code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_get_link_info(
    port: *mut Port,
    info: *mut LinkInfo,
    size: usize,
) -> c_int {
    let details = |state: &mut State| {
        raw::check_struct("info", info, size)?;
        let known = state.link_info()?;
        // SAFETY: checked; that it can be written is the caller's part.
        unsafe { raw::put_struct(info, size, &known) };
        Ok(0)
    };
    answer(PORTS.with(port, details))
}

/// Takes a receive queue of the link that is up, by its index from 0 on, and stores its handle. Each can be
/// taken once. It is the caller's, to be given to ringport_memif_rx_free(), and needs the port no more: it
/// may be used by another thread.
///
/// Returns 0, RINGPORT_MEMIF_E_NO_QUEUE, or another negative code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_take_rx(
    port: *mut Port,
    index: u32,
    taken: *mut *mut Rx,
) -> c_int {
    let take = |state: &mut State| {
        raw::check("taken", taken)?;
        let queue = RX.insert(crate::rx::State::new(state.take_rx(index)?))?;
        // SAFETY: checked; that it can be written is the caller's part.
        unsafe { raw::put(taken, queue) };
        Ok(0)
    };
    answer(PORTS.with(port, take))
}

/// Takes a transmit queue of the link that is up: as ringport_memif_take_rx(). It is given to
/// ringport_memif_tx_free() in the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_take_tx(
    port: *mut Port,
    index: u32,
    taken: *mut *mut Tx,
) -> c_int {
    let take = |state: &mut State| {
        raw::check("taken", taken)?;
        let queue = TX.insert(crate::tx::State::new(state.take_tx(index)?))?;
        // SAFETY: checked; that it can be written is the caller's part.
        unsafe { raw::put(taken, queue) };
        Ok(0)
    };
    answer(PORTS.with(port, take))
}

/// `None` is for ever.
fn timeout(timeout_ms: c_int) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}
