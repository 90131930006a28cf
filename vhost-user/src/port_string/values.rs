//! Values of port strings.

use crate::device::Offloads;
use crate::driver::CallMode;
use crate::virtqueue::KickMode;
use ringport::port_string::Choices;
use ringport::shm::Backing;

/// Which side of a port string's link we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Device,
    Driver,
}

pub(super) const ROLES: Choices<Role, 2> =
    ([("device", Role::Device), ("driver", Role::Driver)], "device or driver");
pub(super) const SIDES: Choices<bool, 2> =
    ([(super::LISTEN, true), (super::CONNECT, false)], "listen or connect");
/// Whether something is used.
pub const SWITCH: Choices<bool, 2> = ([("on", true), ("off", false)], "on or off");
/// What packets may leave to be done.
pub const OFFLOADS: Choices<Offloads, 3> = (
    [
        ("none", Offloads::None),
        ("checksum", Offloads::Checksum),
        ("segmentation", Offloads::Segmentation),
    ],
    "none, checksum or segmentation",
);
const MODES: &str = "polling, interrupt or adaptive";
pub(super) const KICK_MODES: Choices<KickMode, 3> = (
    [
        ("polling", KickMode::Polling),
        ("interrupt", KickMode::Interrupt),
        ("adaptive", KickMode::Adaptive),
    ],
    MODES,
);
/// When a driver is called.
pub const CALL_MODES: Choices<CallMode, 3> = (
    [
        ("polling", CallMode::Polling),
        ("interrupt", CallMode::Interrupt),
        ("adaptive", CallMode::Adaptive),
    ],
    MODES,
);
/// What a driver's memory is made of.
pub const BACKINGS: Choices<Backing, 2> =
    ([("pages", Backing::Pages), ("hugepages", Backing::HugePages2M)], "pages or hugepages");
