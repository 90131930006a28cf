//! Packets over a link, again and again, until it ends.

use super::ask::{THEIRS, arp};
use super::relay_support::eventually;
use ringport::error::QueueError;
use ringport_vhost_user::{Driver, driver};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Who hears a question to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    /// An interface with the address [`THEIRS`], which answers.
    Interface,
    /// A simulator, which sends it back.
    Simulator,
}

/// A thread that asks, and counts the packets that come back as they are to be.
#[derive(Debug)]
pub(crate) struct Traffic {
    heard: Arc<AtomicUsize>,
    thread: JoinHandle<QueueError>,
}

impl Traffic {
    /// Begins, and waits for the first packets.
    #[track_caller]
    pub(crate) fn over(link: driver::Link, other: Other) -> Self {
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        let thread = std::thread::spawn(move || keep_asking(link, other, &count));
        let traffic = Self { heard, thread };
        traffic.goes_on();
        traffic
    }

    /// Waits for more packets.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let heard = || self.heard.load(Ordering::Relaxed);
        let before = heard();
        eventually("packets come back", || heard() > before + 20 || self.thread.is_finished());
        assert!(!self.thread.is_finished(), "the link ended");
    }

    /// Waits for the end of the link, which its driver is to find. Returns how it was.
    #[track_caller]
    pub(crate) fn end(self, driver: &mut Driver) -> String {
        eventually("the end of traffic", || {
            driver.poll(Some(Duration::from_millis(10))).unwrap();
            self.thread.is_finished()
        });
        let heard = self.heard.load(Ordering::Relaxed);
        format!("{heard} packets came back, then: {}", self.thread.join().unwrap())
    }
}

fn keep_asking(mut link: driver::Link, other: Other, heard: &AtomicUsize) -> QueueError {
    let mac = link.parameters.mac.unwrap();
    let question = arp::question(mac, [10, 0, 0, 99], THEIRS);
    let is_wanted = |packet: &[u8]| match other {
        Other::Interface => arp::is_answer(packet, mac, THEIRS),
        Other::Simulator => packet == question,
    };
    let mut turn = || {
        let mut burst = link.tx[0].tx_burst(1)?;
        // There may be no room.
        let _ = burst.push(&question);
        burst.commit();
        let burst = link.rx[0].rx_burst(8)?;
        let count = burst.packets().filter(|packet| is_wanted(&packet.detach())).count();
        let all = burst.len();
        burst.release(all);
        Ok(count)
    };
    loop {
        match turn() {
            Ok(count) => heard.fetch_add(count, Ordering::Relaxed),
            Err(error) => return error,
        };
        // The machine has two slow processors for all of it.
        std::thread::sleep(Duration::from_micros(500));
    }
}
