//! Rings that are started, changed and stopped behind their queues.

/// Runs functions that are generic in the driver with one of each layout.
macro_rules! for_both_layouts {
    ($($name:ident)*) => {
        mod split {
            $(#[test]
            fn $name() {
                super::$name::<crate::virtqueue::split::tests::Driver>();
            })*
        }

        mod packed {
            $(#[test]
            fn $name() {
                super::$name::<crate::virtqueue::packed::tests::Packed>();
            })*
        }
    };
}

mod bells;
mod broken;
mod commands;
mod held;
mod held_model;
mod memory;
mod noted;
mod peer;
mod rig;
mod states;
mod threads;

use crate::virtqueue::split::tests::{receive, send};
use peer::{Peer, SIZE, buffer};
pub(super) use rig::{Ends, Ring};
