//! Split virtqueues: a descriptor table, a ring of what the driver makes available, and a ring of
//! what the device used.
//!
//! A burst costs one load of the driver's index (none while cached credit lasts), an index and a
//! 16-byte descriptor read a packet, one used element a packet (one a burst for received packets
//! that are used in order), and one store of our index. Packets in one descriptor have a loop of
//! their own; chains, tables, buffers across regions and faults another.
//!
//! Chains are used in the order in which they were made available, whatever was negotiated: some
//! drivers rely on it.
//!
//! | what the driver does wrong | what happens |
//! |---|---|
//! | its index runs away, or names a descriptor that does not exist | the ring ends |
//! | a chain of a packet that it sends is not as it should be | counted, used with length 0 |
//! | a chain of a receive buffer is not as it should be | the ring ends: a buffer must not be given back with less than a header |
//! | a packet's header makes no sense | counted, taken as empty |
//!
//! Spec: VIRTIO 1.3 §2.7.

mod chain;
mod ring;

#[cfg(test)]
pub(super) mod tests;

pub(super) use ring::Ring;
pub(crate) use ring::{heads, published};
