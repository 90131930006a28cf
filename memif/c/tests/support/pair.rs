//! Two ports that are joined, by the functions that C calls.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "calls with pointers to locals")]

use ringport_memif_c::*;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::null_mut;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Repeats `step` until it gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = step() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}: {}", error_text());
    }
}

/// Opens a port, or says with which code that failed.
pub fn open(port: &str) -> Result<*mut Port, c_int> {
    let (port, mut opened) = (CString::new(port).unwrap(), null_mut());
    match unsafe { ringport_memif_open(port.as_ptr(), &raw mut opened) } {
        0 => Ok(opened),
        code => Err(code),
    }
}

pub fn close(port: *mut Port, reason: &str) {
    let reason = CString::new(reason).unwrap();
    assert_eq!(unsafe { ringport_memif_close(port, reason.as_ptr()) }, 0, "{}", error_text());
}

pub fn error_text() -> String {
    let text = unsafe { CStr::from_ptr(ringport_memif_error_text()) };
    text.to_str().unwrap().to_owned()
}

/// The text in an array of C.
pub fn text(array: &[c_char]) -> &str {
    assert_eq!(array.last(), Some(&0));
    unsafe { CStr::from_ptr(array.as_ptr()) }.to_str().unwrap()
}

/// A port, and the queues of its link.
#[derive(Debug)]
pub struct Ends {
    pub port: *mut Port,
    pub rx: *mut Rx,
    pub tx: *mut Tx,
    pub up: Event,
}

impl Ends {
    pub fn none() -> Self {
        Self::of(null_mut())
    }

    pub fn of(port: *mut Port) -> Self {
        Self { port, rx: null_mut(), tx: null_mut(), up: Pair::no_event() }
    }

    /// The next event within `millis`.
    #[track_caller]
    pub fn next_event(&self, millis: c_int) -> Option<Event> {
        let mut event = Pair::no_event();
        let size = size_of::<Event>();
        match unsafe { ringport_memif_poll(self.port, millis, &raw mut event, size) } {
            0 => None,
            1 => Some(event),
            code => panic!("{code}: {}", error_text()),
        }
    }

    /// Takes queues of the link that is up.
    #[track_caller]
    pub fn take(&self, index: u32) -> Self {
        let mut taken = Self::none();
        let (rx, tx) = unsafe {
            (
                ringport_memif_take_rx(self.port, index, &raw mut taken.rx),
                ringport_memif_take_tx(self.port, index, &raw mut taken.tx),
            )
        };
        assert_eq!((rx, tx), (0, 0), "{}", error_text());
        taken
    }

    fn poll_until_up(&mut self) -> bool {
        if self.up.kind == 0
            && let Some(event) = self.next_event(1)
            && event.kind == RINGPORT_MEMIF_LINK_UP
        {
            self.up = event;
        }
        self.up.kind == RINGPORT_MEMIF_LINK_UP
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Each that is NULL, or was freed by the test, is an error that changes nothing.
        ringport_memif_rx_free(self.rx);
        ringport_memif_tx_free(self.tx);
        unsafe { ringport_memif_close(self.port, std::ptr::null()) };
    }
}

/// A server and its client, with their first queues.
#[derive(Debug)]
pub struct Pair {
    pub server: Ends,
    pub client: Ends,
    client_port: String,
    _dir: TempDir,
}

impl Pair {
    /// `options` are the client's, with the leading comma.
    pub fn join(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = format!("memif:{}/memif.sock", dir.path().display());
        let client_port = format!("{at},role=client{options}");
        let server = Ends::of(open(&format!("{at},role=server")).unwrap());
        let mut pair = Self { server, client: Ends::none(), client_port, _dir: dir };
        pair.reconnect();
        pair
    }

    /// Joins the server with a new client.
    pub fn reconnect(&mut self) {
        self.client = Ends::of(open(&self.client_port).unwrap());
        self.server.up = Self::no_event();
        wait_for("a link", || {
            let (server, client) = (self.server.poll_until_up(), self.client.poll_until_up());
            (server && client).then_some(())
        });
        for ends in [&mut self.server, &mut self.client] {
            let mut taken = ends.take(0);
            (ends.rx, ends.tx) = (taken.rx, taken.tx);
            (taken.rx, taken.tx) = (null_mut(), null_mut());
        }
    }

    pub fn no_event() -> Event {
        Event { kind: 0, error: 0, rx_queues: 0, tx_queues: 0, reason: [0; 240] }
    }

    pub fn no_info() -> LinkInfo {
        LinkInfo {
            id: 0,
            is_server: 0,
            rx_queues: 0,
            tx_queues: 0,
            ring_size: 0,
            buffer_size: 0,
            peer_pid: 0,
            peer_uid: 0,
            peer_gid: 0,
            version: 0,
            peer_name: [0; 96],
            peer_if_name: [0; 96],
        }
    }
}
