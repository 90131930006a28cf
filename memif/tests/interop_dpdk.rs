//! Against DPDK's net_memif (verified with testpmd 22.11.11): every role, copy mode, queue count,
//! frame, ring and buffer size.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;
mod support;

use driver_support::Place;
use ringport_bench::peers::testpmd::{MemifArgs, MemifRole, Mode, RunningTestpmd};
use ringport_bench::peers::{Testpmd, require_peer};
use std::fmt;
use support::echo::{EchoPlan, echo};
use support::table::each_row;
use support::*;

/// Frame sizes, around everything that could matter: cache lines, the copy kernels, one buffer.
const LENS: [usize; 10] = [64, 65, 128, 256, 1024, 1518, 2048, 2049, 4096, 9000];

/// One link between testpmd and us.
#[derive(Debug, Clone)]
struct Row {
    peer: MemifRole,
    zero_copy: bool,
    queues: u16,
    log2_ring_size: u8,
    buffer_size: u16,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            peer: MemifRole::Client,
            zero_copy: false,
            queues: 1,
            log2_ring_size: 10,
            buffer_size: 2048,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, zero_copy, queues, log2_ring_size, buffer_size } = self;
        let copies = if *zero_copy { "zero-copy" } else { "copying" };
        write!(
            f,
            "DPDK {peer:?} {copies}, {queues} queues, rings of 2^{log2_ring_size}, buffers of {buffer_size}"
        )
    }
}

impl Row {
    fn memif(&self, place: &Place) -> MemifArgs {
        let memif = MemifArgs::new(self.peer, &place.path)
            .id(3)
            .log2_ring_size(self.log2_ring_size)
            .buffer_size(self.buffer_size);
        if self.zero_copy { memif.zero_copy() } else { memif }
    }

    fn testpmd(&self, place: &Place) -> Testpmd {
        Testpmd::new()
            .memif(self.memif(place))
            .queues(self.queues)
            .forward(Mode::Io)
            .app_arg("--tx-offloads=0x8000")
    }

    /// What our port is opened with.
    fn ours(&self) -> String {
        match self.peer {
            MemifRole::Client => "role=server,id=3".into(),
            MemifRole::Server => format!(
                "role=client,id=3,rings={},log2-ring-size={},buffer-size={}",
                self.queues, self.log2_ring_size, self.buffer_size
            ),
        }
    }

    /// Starts both sides, whoever has to be first.
    fn join(
        &self,
        place: &Place,
        testpmd: Testpmd,
    ) -> Outcome<(RunningTestpmd, ringport_memif::Port, ringport_memif::Link)> {
        let (peer, mut port) = match self.peer {
            MemifRole::Client => {
                let port = open(&place.path, &self.ours())?;
                (testpmd.start()?, port)
            }
            MemifRole::Server => {
                let peer = testpmd.start()?;
                (peer, open(&place.path, &self.ours())?)
            }
        };
        let link = link(&mut port)?;
        Ok((peer, port, link))
    }
}

#[test]
fn every_frame_size_comes_back_whole_and_in_order() {
    let Some(_peer) =
        require_peer("every_frame_size_comes_back_whole_and_in_order", "dpdk-testpmd")
    else {
        return;
    };
    let rows = [1u16, 4].into_iter().flat_map(|queues| {
        let base = Row { queues, ..Row::default() };
        [
            base.clone(),
            Row { zero_copy: true, ..base.clone() },
            Row { peer: MemifRole::Server, ..base },
        ]
    });
    each_row(rows, |row| {
        let place = Place::new();
        let (mut peer, port, mut link) = row.join(&place, row.testpmd(&place))?;
        for len in LENS {
            let plan = EchoPlan { lens: &[len], frames: 20_000, ..EchoPlan::default() };
            let start = std::time::Instant::now();
            let r = echo(&mut link, &plan);
            println!("{row} {len}: {r:?} {:?}", start.elapsed());
            if r.is_err() {
                println!("{:?}", peer.counters(0));
                break;
            }
        }
        drop(port);
        Ok(())
    });
}
