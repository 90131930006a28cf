//! Values of port strings.

use crate::control::{CacheLine, Mode, Role};
use crate::queue::{BufferSpacing, RxMode};
use crate::wire::LOG2_RING_SIZE_MAX;
use ringport::port_string::{Choices, ItemError, number};
use ringport::shm::Backing;

pub(super) const ROLES: Choices<Role, 2> =
    ([("server", Role::Server), ("client", Role::Client)], "server or client");
pub(super) const MODES: Choices<Mode, 2> =
    ([("ethernet", Mode::Ethernet), ("ip", Mode::Ip)], "ethernet or ip");
pub(super) const CACHE_LINES: Choices<CacheLine, 2> =
    ([("64", CacheLine::B64), ("128", CacheLine::B128)], "64 or 128");
pub(super) const RX_MODES: Choices<RxMode, 3> = (
    [
        ("polling", RxMode::Polling),
        ("interrupt", RxMode::Interrupt),
        ("adaptive", RxMode::Adaptive),
    ],
    "polling, interrupt or adaptive",
);
pub(super) const BACKINGS: Choices<Backing, 2> =
    ([("pages", Backing::Pages), ("hugepages", Backing::HugePages2M)], "pages or hugepages");
pub(super) const SPACINGS: Choices<BufferSpacing, 2> = (
    [("staggered", BufferSpacing::Staggered), ("packed", BufferSpacing::Packed)],
    "staggered or packed",
);
/// A ring size, as its base-2 logarithm.
pub(super) fn ring_size(key: &'static str, value: &str) -> Result<u8, ItemError> {
    let size = number(key, value, 2u64, 1 << LOG2_RING_SIZE_MAX)?;
    if !size.is_power_of_two() {
        return Err(ItemError::bad(key, value, "a power of two"));
    }
    u8::try_from(size.ilog2()).map_err(|_| ItemError::bad(key, value, "a power of two"))
}
