//! Forwarding from any port to any port.

use super::{PacketRx, PacketTx, PushError, RxBurst, TxBurst};
use crate::error::QueueError;
use thiserror::Error;

/// What one call of [`forward`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwarded {
    /// Packets moved on.
    pub packets: usize,
    /// Of those, the ones whose checksum, segmentation or VLAN tag the transmit queue cannot pass
    /// on, so that it was done [in software](crate::software).
    pub finished: usize,
    /// Packets put into the transmit queue: more than were moved on when some were cut.
    pub sent: usize,
    /// Packets dropped: too long for the transmit queue, or in more segments than it has slots, or
    /// malformed.
    pub dropped: usize,
    /// Of those, the ones that asked for what cannot be done to them
    /// ([`BadOffload`](crate::software::BadOffload)).
    pub malformed: usize,
}

/// Which side of [`forward`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ForwardError {
    /// The receive queue.
    #[error("receiving")]
    Rx(#[source] QueueError),
    /// The transmit queue.
    #[error("transmitting")]
    Tx(#[source] QueueError),
}

impl From<ForwardError> for QueueError {
    fn from(error: ForwardError) -> Self {
        let (ForwardError::Rx(why) | ForwardError::Tx(why)) = error;
        why
    }
}

/// Moves up to `max` packets from `rx` to `tx`: without a copy when both lend the same
/// [`Pool`](crate::pool::Pool), else with one. What `tx` has no room for stays in `rx`'s ring.
///
/// What a packet's offload metadata asks for and `tx` cannot pass on is done
/// [in software](crate::software).
///
/// # Errors
/// [`ForwardError`]: one of the links is down. Packets that were not moved on stay in `rx`'s ring.
pub fn forward(
    rx: &mut dyn PacketRx,
    tx: &mut dyn PacketTx,
    max: usize,
) -> Result<Forwarded, ForwardError> {
    let mut burst = rx.rx_burst(max).map_err(ForwardError::Rx)?;
    if burst.is_empty() {
        return Ok(Forwarded::default());
    }
    // Mostly packets take as many slots there as here. Where they take more, the first one may find
    // too few, and is tried again with all that there are.
    let mut slots = burst.slots();
    loop {
        let mut out = match tx.tx_burst(slots) {
            Ok(out) => out,
            Err(error) => {
                burst.release(0);
                return Err(ForwardError::Tx(error));
            }
        };
        let got_all = out.free() == slots;
        let done = move_packets(&mut burst, &mut out);
        if done.packets + done.dropped == 0 && got_all {
            slots = usize::MAX;
            continue;
        }
        out.commit();
        burst.release(done.packets + done.dropped);
        return Ok(done);
    }
}

/// Moves packets until one finds no room.
fn move_packets(burst: &mut RxBurst<'_>, out: &mut TxBurst<'_>) -> Forwarded {
    let exchanged = out.exchange(burst);
    let mut done = Forwarded { packets: exchanged, sent: exchanged, ..Forwarded::default() };
    if exchanged > 0 {
        return done;
    }
    let finished_before = out.finished_ever();
    for packet in burst.packets() {
        match out.push_packet(&packet) {
            Ok(()) => done.packets += 1,
            Err(PushError::Full) => break,
            Err(error) => {
                done.dropped += 1;
                done.malformed += usize::from(matches!(error, PushError::Malformed(_)));
            }
        }
    }
    done.finished = out.finished_ever().wrapping_sub(finished_before);
    done.sent = out.packets();
    done
}
