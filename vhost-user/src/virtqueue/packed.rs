//! Packed virtqueues: one ring of descriptors, which say themselves whose they are.
//!
//! Each side has a position and a wrap counter, which changes with every turn of the ring: a
//! descriptor is the device's when its AVAIL flag is the counter and its USED flag is not. A burst
//! costs a 16-byte descriptor read and one write a packet (one a burst for received packets that are
//! used in order). The descriptor that the driver looks at first is written last, so a burst appears
//! all at once.
//!
//! What happens when the driver does wrong is the same as in [`split`](super::split) rings.
//!
//! Spec: VIRTIO 1.3 §2.8.

mod chain;
mod position;
mod ring;
mod steps;

#[cfg(test)]
pub(super) mod tests;

pub(crate) use position::{Position, State};
pub(super) use ring::Ring;
pub(crate) use ring::{is_used, table};
pub(crate) use steps::Steps;
