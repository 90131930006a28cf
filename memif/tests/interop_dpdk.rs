//! Against DPDK's net_memif (verified with testpmd 22.11.11): every role, copy mode, queue count,
//! frame, ring and buffer size; refusals, restarts, totals, and a proxy between two testpmds.
//!
//! What 22.11 does, where memif.h leaves it open:
//! * Packets in several descriptors work in both directions, both roles and both copy modes, with
//!   testpmd's default buffers: what arrives in pieces is forwarded in pieces. Only a testpmd that
//!   sends needs `--tx-offloads=0x8000` (`MULTI_SEGS`).
//! * A copying client never clears NEXT in the first descriptor of a packet: once a packet in several
//!   slots was sent, a later one of a single slot that starts in the same place is joined with the
//!   one behind it. So with copying clients sizes are mixed only as long as all fit one slot. (The
//!   zero-copy client clears it, and a server's descriptors are rewritten by the client.)
//! * A server whose core polls while a link comes up may crash: it finds the ring's address before it
//!   looks whether there is a link. So forwarding is started once the link is up.
//! * A server copies each descriptor into a buffer of its own `bsize` without looking at the
//!   length: it must be given a `bsize` that is not below the client's, or `mbuf_data` below both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test, which reports what peers did"
)]

mod driver_support;
#[path = "interop_dpdk/proxy.rs"]
mod proxy;
#[path = "interop_dpdk/refusals.rs"]
mod refusals;
#[path = "interop_dpdk/restarts.rs"]
mod restarts;
mod support;
#[path = "interop_dpdk/totals.rs"]
mod totals;

use driver_support::Place;
use ringport_bench::peers::testpmd::{MemifArgs, MemifRole, Mode};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use ringport_memif::{Link, Port};
use std::fmt;
use support::echo::{EchoPlan, echo};
use support::table::each_row;
use support::{Killed, Outcome, link, open};

/// Frame sizes around everything that could matter: cache lines, the copy kernels, one buffer.
const LENS: [usize; 10] = [64, 65, 128, 256, 1024, 1518, 2048, 2049, 4096, 9000];

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 256;

/// `RTE_ETH_TX_OFFLOAD_MULTI_SEGS`: packets in several pieces.
const MULTI_SEGS: &str = "--tx-offloads=0x8000";

/// One link between testpmd and us.
#[derive(Debug, Clone)]
struct Row {
    peer: MemifRole,
    zero_copy: bool,
    queues: u16,
    log2_ring_size: u8,
    buffer_size: u16,
    /// More for our port string.
    options: &'static str,
    /// Whether we sleep on our doorbells.
    sleeps: bool,
}

impl Row {
    /// testpmd is the client.
    fn client() -> Self {
        Self {
            peer: MemifRole::Client,
            zero_copy: false,
            queues: 1,
            log2_ring_size: 10,
            buffer_size: 2048,
            options: "",
            sleeps: false,
        }
    }

    /// testpmd is the client and shares its own buffers.
    fn zero_copy() -> Self {
        Self { zero_copy: true, ..Self::client() }
    }

    /// testpmd is the server.
    fn server() -> Self {
        Self { peer: MemifRole::Server, ..Self::client() }
    }

    fn all() -> [Self; 3] {
        [Self::client(), Self::zero_copy(), Self::server()]
    }

    fn is_server(&self) -> bool {
        self.peer == MemifRole::Server
    }

    fn memif(&self, place: &Place) -> MemifArgs {
        let memif = MemifArgs::new(self.peer, &place.path)
            .id(3)
            .log2_ring_size(self.log2_ring_size)
            .buffer_size(self.buffer_size);
        if self.zero_copy { memif.zero_copy() } else { memif }
    }

    /// A testpmd that sends everything back once it is told to start.
    fn testpmd(&self, place: &Place) -> Testpmd {
        let testpmd = Testpmd::new().memif(self.memif(place)).queues(self.queues);
        testpmd.forward(Mode::Io).app_arg(MULTI_SEGS).interactive()
    }

    /// What our port is opened with.
    fn ours(&self) -> String {
        let Self { queues, log2_ring_size, buffer_size, options, .. } = self;
        match self.peer {
            MemifRole::Client => format!("role=server,id=3{options}"),
            MemifRole::Server => format!(
                "role=client,id=3,reconnect=10ms-50ms,rings={queues},\
                 log2-ring-size={log2_ring_size},buffer-size={buffer_size}{options}"
            ),
        }
    }

    /// Starts both sides, waits for the link, and has testpmd forward.
    fn join(&self, place: &Place, testpmd: Testpmd) -> Outcome<(Killed, Port, Link)> {
        let (mut peer, port, link) = self.connect(place, testpmd)?;
        peer.start_when_up(1)?;
        Ok((peer, port, link))
    }

    /// Starts both sides, whoever has to be first, and waits for the link.
    fn connect(&self, place: &Place, testpmd: Testpmd) -> Outcome<(Killed, Port, Link)> {
        let (peer, mut port) = match self.peer {
            MemifRole::Client => {
                let port = open(&place.path, &self.ours())?;
                (testpmd.start()?, port)
            }
            MemifRole::Server => (testpmd.start()?, open(&place.path, &self.ours())?),
        };
        let (link, peer) = (link(&mut port)?, Killed(peer));
        let rings = (link.rx.len(), link.tx.len());
        if rings != (usize::from(self.queues), usize::from(self.queues)) {
            return Err(format!("rings {rings:?}").into());
        }
        Ok((peer, port, link))
    }

    /// A window that neither testpmd nor the rings can overflow.
    fn plan(&self) -> EchoPlan<'static> {
        EchoPlan {
            slots_in_flight: (1 << self.log2_ring_size >> 1).clamp(1, 256),
            slot: usize::from(self.buffer_size),
            sleeps: self.sleeps,
            ..EchoPlan::default()
        }
    }

    /// Frames of all `lens`, one after the other and mixed, each of which has to come back.
    fn echo(
        &self,
        testpmd: impl FnOnce(Testpmd) -> Testpmd,
        lens: &[usize],
        frames: u64,
    ) -> Outcome {
        let place = Place::new();
        let (mut peer, _port, mut link) = self.join(&place, testpmd(self.testpmd(&place)))?;
        let short = lens.iter().take_while(|len| **len <= usize::from(self.buffer_size)).count();
        let mut runs = vec![&lens[..short]];
        runs.extend(lens.chunks(1));
        // See the second point above.
        if self.zero_copy || self.is_server() {
            runs.push(lens);
        }
        for lens in runs {
            let plan = EchoPlan { lens, frames, ..self.plan() };
            if let Err(error) = echo(&mut link, &plan) {
                let counters = peer.counters(0);
                return Err(format!("frames of {lens:?}: {error}; testpmd: {counters:?}").into());
            }
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, queues, log2_ring_size, buffer_size, options, .. } = self;
        let copies = if self.zero_copy { " zero-copy" } else { "" };
        let sleeps = if self.sleeps { " asleep" } else { "" };
        write!(
            f,
            "testpmd {peer:?}{copies}, {queues} queues, rings of 2^{log2_ring_size}, \
             buffers of {buffer_size}, ours {options:?}{sleeps}"
        )
    }
}

/// Runs a table; all of them need testpmd with hugepages.
fn table(test: &str, rows: impl IntoIterator<Item = Row>, run: impl FnMut(&Row) -> Outcome) {
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    each_row(rows, run);
}

#[test]
fn frames_of_every_size_come_back_whole_and_in_order() {
    let rows = [1, 4].into_iter().flat_map(|queues| Row::all().map(|row| Row { queues, ..row }));
    table("frames_of_every_size_come_back_whole_and_in_order", rows, |row| {
        row.echo(|testpmd| testpmd, &LENS, 2000)
    });
}

#[test]
fn rings_of_every_size_carry_frames_in_order() {
    // Two descriptors are the smallest ring of the protocol, and of testpmd.
    let rows = (1..=14).flat_map(|log2_ring_size| {
        let copying = [Row::client(), Row::server()].into_iter();
        let zero_copy = (log2_ring_size >= 5).then(Row::zero_copy);
        copying.chain(zero_copy).map(move |row| Row { log2_ring_size, ..row })
    });
    table("rings_of_every_size_carry_frames_in_order", rows, |row| {
        // A zero-copy client fills its whole receive ring with buffers.
        let buffers = |testpmd: Testpmd| testpmd.app_arg("--total-num-mbufs=40960");
        // Often round the ring, whose indices wrap at 2^16.
        let frames = if row.log2_ring_size < 5 { 2000 } else { 35_000 };
        row.echo(buffers, &[64], frames)
    });
}

#[test]
fn buffers_of_every_size_carry_frames_in_pieces() {
    let rows = [64, 256, 1000, 2048, 4096, 9216].into_iter().flat_map(|buffer_size| {
        [Row::client(), Row::server()].map(|row| Row { buffer_size, ..row })
    });
    table("buffers_of_every_size_carry_frames_in_pieces", rows, |row| {
        // testpmd's own buffers are at least as large, and no smaller than testpmd takes.
        let buffers = |testpmd: Testpmd| testpmd.mbuf_data(row.buffer_size.max(2048));
        row.echo(buffers, &[64, 65, 1518, 9000], 2000)
    });
}

#[test]
fn testpmd_buffers_of_another_size_than_the_rings_carry_frames_whole() {
    let rows = Row::all().into_iter().flat_map(|row| {
        [(4096, "small"), (9216, "large")]
            .map(|(buffer_size, _)| Row { buffer_size, ..row.clone() })
    });
    table("testpmd_buffers_of_another_size_than_the_rings_carry_frames_whole", rows, |row| {
        let mbuf_data = if row.buffer_size == 4096 { 2048 } else { 10_000 };
        let buffer_size = if row.buffer_size == 4096 { 4096 } else { 2048 };
        let row = Row { buffer_size, ..row.clone() };
        row.echo(|testpmd| testpmd.mbuf_data(mbuf_data), &[64, 1518, 2049, 9000], 2000)
    });
}

#[test]
fn every_option_of_ours_carries_frames_in_order() {
    let mut rows = Vec::new();
    for (options, sleeps) in [
        (",rx-mode=polling", false),
        (",rx-mode=interrupt", true),
        (",rx-mode=adaptive", true),
        (",rx-mode=interrupt", false),
    ] {
        rows.extend(Row::all().map(|row| Row { options, sleeps, queues: 2, ..row }));
    }
    for options in [",memory=hugepages", ",headroom=128", ",cache-line=64"] {
        rows.push(Row { options, ..Row::server() });
    }
    for options in [",policy=sealed", ",policy=trust", ",cache-line=64", ",rings=7,ring-size=16384"]
    {
        rows.push(Row { options, ..Row::client() });
    }
    rows.push(Row { options: ",policy=trust", ..Row::zero_copy() });
    table("every_option_of_ours_carries_frames_in_order", rows, |row| {
        row.echo(|testpmd| testpmd, &[64, 1500], 2000)
    });
}
