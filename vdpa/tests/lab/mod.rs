//! Tests in a virtual machine with real vDPA devices, emulated where nothing is virtualised.
//!
//! A test there is as any other, but for its first line:
//!
//! ```ignore
//! #[test]
//! fn simulated_device_appears() {
//!     in_vm("simulated_device_appears", Tier::T2, |inside| {
//!         assert!(inside.simulator("vdpa0", "02:00:00:00:00:01").exists());
//!     });
//! }
//! ```
//!
//! On the host this starts a machine whose file system is the host's: it can read all of it, and what it
//! writes is in its memory. The machine runs this very test program with this very test, which this time
//! finds that it is inside; its output and its result come back. `./ci.sh vdpa-kit` makes what machines are
//! started from; without it the test is skipped as others without their peer are. A machine boots in some
//! 5 s, and one runs at a time.
//!
//! Modules are loaded by the test: nothing does it by itself. All virtio network devices of a machine are
//! on one wire; one that has a driver but is down may stall it, so set those up that `virtio_net` has taken.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "for tests")]

mod inside;
mod machine;

pub use inside::Inside;

use machine::{Machine, Outcome};
use ringport_bench::peers::kit::Kit;
use ringport_bench::peers::require_kit;

const KIT: Kit = Kit {
    step: "vdpa-kit",
    variable: "RINGPORT_VDPA_KIT",
    recipe: concat!(
        include_str!("../../../bench/guest/debian.sh"),
        include_str!("../../kit/kit.sh"),
        include_str!("../../kit/Makefile"),
        include_str!("../../kit/init")
    ),
};

/// What devices a machine has. Each tier has the modules of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// None: VDUSE and the simulators need none.
    T1,
    /// Behind an IOMMU two virtio network devices on one wire: 0000:00:10.0, which is for vp_vdpa, and
    /// 0000:00:11.0, which bypasses the IOMMU as a plain network interface may.
    T2,
    /// Behind an IOMMU a virtio network device that is a physical function, 0000:01:00.0, with three virtual
    /// ones, all on one wire.
    T3,
}

/// Runs `body` in a machine. `test` is the name of the calling test, with its modules if it is in any.
///
/// # Panics
/// When the machine does not boot, or the test fails there or takes too long: all that was printed is shown.
/// Without a kit, when `RINGPORT_REQUIRE_PEERS=1`.
#[track_caller]
pub fn in_vm(test: &str, tier: Tier, body: impl FnOnce(&Inside)) {
    if let Some(inside) = Inside::here() {
        return body(&inside);
    }
    let Some(kit) = require_kit(test, &KIT) else { return };
    let Outcome { booted, ended, output } = Machine::new(&kit.program, tier).run(test);
    println!("{output}");
    match ended {
        Ok(took) => println!("{test}: booted in {booted:.1?}, done after {took:.1?}"),
        Err(why) => panic!("{test}: in the machine, whose output is above: {why}"),
    }
}
