//! What can go wrong, as C sees it: a negative number, and a text for people.
#![expect(unsafe_code, reason = "functions that C calls by name")]

use ringport::error::QueueError;
use ringport_memif::wire::Text;
use ringport_memif::{ControlError, DownReason};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::ffi::{c_char, c_int};
use std::fmt;
use thiserror::Error as ThisError;

/// An argument cannot be: NULL, a size or a number out of range, a text that is not UTF-8.
pub const RINGPORT_MEMIF_E_INVALID: c_int = -1;
/// A handle was closed before, or never was one, or is of another kind.
pub const RINGPORT_MEMIF_E_HANDLE: c_int = -2;
/// Another thread is in a call with the same handle. Nothing was done.
pub const RINGPORT_MEMIF_E_BUSY: c_int = -3;
/// Too many handles are open: there is room for 65536 of each kind.
pub const RINGPORT_MEMIF_E_LIMIT: c_int = -4;
/// The port string, or an address in it, cannot work. The error's text says which part.
pub const RINGPORT_MEMIF_E_CONFIG: c_int = -5;
/// The operating system refused a call.
pub const RINGPORT_MEMIF_E_SYSTEM: c_int = -6;
/// Something did not happen in time.
pub const RINGPORT_MEMIF_E_TIMEOUT: c_int = -7;
/// The link of this queue is down, for ever: free it, and take one of the next link.
pub const RINGPORT_MEMIF_E_LINK_DOWN: c_int = -8;
/// The peer broke the protocol, or wants what we do not have.
pub const RINGPORT_MEMIF_E_PEER: c_int = -9;
/// The peer turned us away, said goodbye, or closed the connection.
pub const RINGPORT_MEMIF_E_PEER_LEFT: c_int = -10;
/// We turned the peer away: the secret, the mode or the interface was wrong.
pub const RINGPORT_MEMIF_E_REFUSED: c_int = -11;
/// There is no such queue: no link, fewer queues, or it was taken already.
pub const RINGPORT_MEMIF_E_NO_QUEUE: c_int = -12;
/// A packet is empty, or longer than the ring or the caller's array takes.
pub const RINGPORT_MEMIF_E_PACKET: c_int = -13;
/// A call that means nothing now: to release what was not looked at, or a burst while another is open.
pub const RINGPORT_MEMIF_E_ORDER: c_int = -14;

/// Bytes of an error's text, its NUL included.
const TEXT_LEN: usize = 512;

/// Why a call did nothing.
#[derive(Debug, ThisError)]
pub(crate) enum Failure {
    #[error("{what} is NULL")]
    Null { what: &'static str },
    #[error("{what} is not aligned")]
    Unaligned { what: &'static str },
    #[error("{what} is not UTF-8")]
    NotUtf8 { what: &'static str },
    #[error("{what} is longer than {limit} bytes")]
    TextTooLong { what: &'static str, limit: usize },
    #[error("{what} has {size} bytes, not {ours} to 4096")]
    StructSize { what: &'static str, size: usize, ours: usize },
    #[error("{what} {given} is out of range: at most {limit}")]
    TooMany { what: &'static str, given: usize, limit: usize },
    #[error("no such handle: it was closed, or is of another kind")]
    NoSuchHandle,
    #[error("handle is in use by another thread")]
    InUse,
    #[error("too many handles are open")]
    TooManyHandles,
    #[error("no queue {index}: {why}")]
    NoQueue { index: u32, why: &'static str },
    #[error("packet {at} of the call: {why}")]
    Packet { at: usize, why: PacketFault },
    #[error("a burst is open: release or commit it first")]
    BurstIsOpen,
    #[error("no burst is open")]
    NoBurst,
    #[error("there is no link")]
    NoLink,
    #[error("timeout")]
    Timeout,
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
pub(crate) enum PacketFault {
    #[error("its data is NULL")]
    Null,
    #[error("it is empty")]
    Empty,
    #[error("its {len} bytes do not fit")]
    TooLong { len: usize },
}

impl Failure {
    pub(crate) fn code(&self) -> c_int {
        match self {
            Self::Null { .. }
            | Self::Unaligned { .. }
            | Self::NotUtf8 { .. }
            | Self::TextTooLong { .. }
            | Self::StructSize { .. }
            | Self::TooMany { .. }
            | Self::Packet { why: PacketFault::Null, .. } => RINGPORT_MEMIF_E_INVALID,
            Self::NoSuchHandle => RINGPORT_MEMIF_E_HANDLE,
            Self::InUse => RINGPORT_MEMIF_E_BUSY,
            Self::TooManyHandles => RINGPORT_MEMIF_E_LIMIT,
            Self::NoQueue { .. } => RINGPORT_MEMIF_E_NO_QUEUE,
            Self::Packet { .. } => RINGPORT_MEMIF_E_PACKET,
            Self::BurstIsOpen | Self::NoBurst => RINGPORT_MEMIF_E_ORDER,
            Self::NoLink => RINGPORT_MEMIF_E_LINK_DOWN,
            Self::Timeout => RINGPORT_MEMIF_E_TIMEOUT,
            Self::Control(error) => control_code(error),
            Self::Queue(error) => queue_code(*error),
        }
    }
}

/// Code of an error of the control side.
pub(crate) fn control_code(error: &ControlError) -> c_int {
    match error {
        ControlError::Config(_) => RINGPORT_MEMIF_E_CONFIG,
        ControlError::Timeout { .. } => RINGPORT_MEMIF_E_TIMEOUT,
        ControlError::PeerIncompatible(_) | ControlError::PeerMisbehaved(_) => {
            RINGPORT_MEMIF_E_PEER
        }
        ControlError::Rejected { .. } | ControlError::Disconnected => RINGPORT_MEMIF_E_PEER_LEFT,
        ControlError::Refused(_) => RINGPORT_MEMIF_E_REFUSED,
        ControlError::OutOfOrder { .. } => RINGPORT_MEMIF_E_ORDER,
        // Sockets, and shared memory: what the system did not do.
        _ => RINGPORT_MEMIF_E_SYSTEM,
    }
}

fn queue_code(error: QueueError) -> c_int {
    match error {
        QueueError::LinkDown => RINGPORT_MEMIF_E_LINK_DOWN,
        _ => RINGPORT_MEMIF_E_PEER,
    }
}

/// Code of a link's end: 0 when we closed it.
pub(crate) fn down_code(reason: &DownReason) -> c_int {
    match reason {
        DownReason::PeerDisconnected { .. } | DownReason::PeerClosed => RINGPORT_MEMIF_E_PEER_LEFT,
        DownReason::Fault(_) => RINGPORT_MEMIF_E_PEER,
        DownReason::Protocol(error) => control_code(error),
        _ => 0,
    }
}

/// An error with its causes, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// As much of a text as fits an array of C, which ends with a NUL.
pub(crate) fn c_text<const N: usize>(text: &dyn fmt::Display) -> [c_char; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(Text::<N>::of(text).as_bytes()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    array
}

thread_local! {
    static CODE: Cell<c_int> = const { Cell::new(0) };
    static TEXT: RefCell<[c_char; TEXT_LEN]> = const { RefCell::new([0; TEXT_LEN]) };
}

/// What C gets for a result. An error is kept for whoever asks later. Does not allocate.
#[inline]
pub(crate) fn answer(result: Result<c_int, Failure>) -> c_int {
    match result {
        Ok(value) => value,
        Err(failure) => keep(&failure),
    }
}

#[cold]
fn keep(failure: &Failure) -> c_int {
    let code = failure.code();
    CODE.set(code);
    let text = c_text(&Chain(failure));
    TEXT.with(|last| {
        // Nobody borrows it for longer than this.
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = text;
        }
    });
    code
}

/// Code of the last error of this thread: what the last call that failed returned; 0 when none did.
/// Calls that succeed leave it as it is.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_error() -> c_int {
    CODE.get()
}

/// Text of the last error of this thread, in English, with its causes; "" when there was none. It belongs
/// to the library, and holds until the next error of this thread, or its end.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_error_text() -> *const c_char {
    TEXT.with(|text| text.as_ptr().cast::<c_char>().cast_const())
}

/// What a code means, in a few words, as far as that can be said without the case; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_code_text(code: c_int) -> *const c_char {
    let text = match code {
        0 => c"no error",
        RINGPORT_MEMIF_E_INVALID => c"invalid argument",
        RINGPORT_MEMIF_E_HANDLE => c"no such handle",
        RINGPORT_MEMIF_E_BUSY => c"handle is in use by another thread",
        RINGPORT_MEMIF_E_LIMIT => c"too many handles",
        RINGPORT_MEMIF_E_CONFIG => c"port string cannot work",
        RINGPORT_MEMIF_E_SYSTEM => c"operating system refused a call",
        RINGPORT_MEMIF_E_TIMEOUT => c"timeout",
        RINGPORT_MEMIF_E_LINK_DOWN => c"link is down",
        RINGPORT_MEMIF_E_PEER => c"peer broke the protocol or is incompatible",
        RINGPORT_MEMIF_E_PEER_LEFT => c"peer left or turned us away",
        RINGPORT_MEMIF_E_REFUSED => c"peer was turned away",
        RINGPORT_MEMIF_E_NO_QUEUE => c"no such queue",
        RINGPORT_MEMIF_E_PACKET => c"packet is empty or too long",
        RINGPORT_MEMIF_E_ORDER => c"call out of order",
        _ => c"unknown code",
    };
    text.as_ptr()
}

/// Version of the library, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_version() -> *const c_char {
    VERSION.as_ptr()
}

const VERSION: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes(),
) {
    Ok(version) => version,
    Err(_) => c"",
};
