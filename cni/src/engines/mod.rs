//! Vswitches: the verbs ask one for what they need, through [`Vswitch`], and do not know which it is.

#[cfg(not(any(feature = "ovs", feature = "vpp")))]
compile_error!("a plugin without a vswitch is of no use: choose the feature `ovs`, `vpp` or both");

#[cfg(feature = "ovs")]
pub mod ovs;
#[cfg(feature = "vpp")]
pub mod vpp;

use crate::conf::{Attachment, Engine, NetConf};
use crate::env::CallEnv;
use crate::error::{CniError, code};
use crate::plan::Plan;
use crate::result::CniResult;
use crate::state::{OldRecord, Owner, Step};

/// The mark by which we know what we made on a vswitch.
pub const MARK: &str = "ringport-cni";

/// What the verbs need of a vswitch. Nothing is connected before something is asked, and nothing
/// stays so afterwards.
pub trait Vswitch {
    /// What [`Self::add`] is about to make, for the record.
    fn step(&self, plan: &Plan) -> Step;

    /// Makes the interface of a plan. What a failure leaves is what [`undo`] takes away.
    ///
    /// # Errors
    /// When the vswitch cannot be reached, or refuses.
    fn add(&self, plan: &Plan) -> Result<(), CniError>;

    /// Tells the vswitch which addresses the container got.
    ///
    /// # Errors
    /// As [`Self::add`].
    fn address(&self, plan: &Plan, result: &CniResult) -> Result<(), CniError>;

    /// Says what of an interface is not as it was made; nothing when all is well.
    ///
    /// # Errors
    /// When the vswitch cannot be reached.
    fn differences(&self, plan: &Plan, told: &CniResult) -> Result<Vec<String>, CniError>;

    /// Removes every interface of ours on a network that is of no attachment in `keep`, whether there
    /// is a record or not.
    ///
    /// # Errors
    /// When the vswitch cannot be reached, or refuses.
    fn collect(&self, network: &str, keep: &[Attachment]) -> Result<(), CniError>;

    /// Whether an interface could be made now.
    ///
    /// # Errors
    /// The reason.
    fn status(&self) -> Result<(), CniError>;

    /// Removes what the plugin before us made, by its record.
    ///
    /// # Errors
    /// When the vswitch cannot be reached, or refuses.
    fn remove_old(&self, old: &OldRecord, env: &CallEnv) -> Result<(), CniError>;
}

/// The vswitch of a network.
///
/// # Errors
/// Code 7 when this build does not have it, or it cannot be reached as the configuration says.
pub fn of(conf: &NetConf, engine: Engine) -> Result<Box<dyn Vswitch + '_>, CniError> {
    match engine {
        #[cfg(feature = "ovs")]
        Engine::Ovs => Ok(Box::new(ovs::OpenVswitch::new(conf)?)),
        #[cfg(feature = "vpp")]
        Engine::Vpp => Ok(Box::new(vpp::Vpp::new(conf))),
        #[allow(unreachable_patterns, reason = "without a feature one engine is left over")]
        other => Err(no_engine(other)),
    }
}

/// Takes away what a step made on a vswitch, `told` being what the runtime was told, or was to be. Other
/// steps are none of ours.
///
/// # Errors
/// When the vswitch cannot be reached, or refuses; when this build does not have it.
pub fn undo(step: &Step, owner: &Owner, told: &CniResult, conf: &NetConf) -> Result<(), CniError> {
    let _ = told;
    match step {
        #[cfg(feature = "ovs")]
        Step::OvsPort { db, bridge, port, .. } => ovs::undo(db, bridge, port, owner, conf),
        #[cfg(feature = "vpp")]
        Step::VppPort { api, socket, bridge, trunk, port } => {
            let bridges: Vec<u32> = bridge.iter().chain(trunk).copied().collect();
            vpp::undo(api, socket, &bridges, &vpp::hosts(port, told), owner, conf)
        }
        #[allow(unreachable_patterns, reason = "without a feature one engine is left over")]
        Step::OvsPort { .. } | Step::VppPort { .. } => {
            let msg = "the interface is on a vswitch that this build cannot reach";
            Err(CniError::new(code::VSWITCH, msg))
        }
        _ => Ok(()),
    }
}

/// Whether a vswitch has lost what a step made, by a restart. Open vSwitch keeps its ports, and makes
/// those of them that listen a socket in its own directory again.
///
/// # Errors
/// When the vswitch cannot be reached; code 102 when it has something else in that place.
pub fn is_lost(step: &Step, told: &CniResult) -> Result<bool, CniError> {
    match step {
        #[cfg(feature = "ovs")]
        Step::OvsPort { db, port, socket: Some(socket), .. } => ovs::is_lost(db, port, socket),
        #[cfg(feature = "vpp")]
        Step::VppPort { api, port, .. } => vpp::is_lost(api, port, told),
        _ => {
            let _ = told;
            Ok(false)
        }
    }
}

/// Whether two steps are about the same vswitch.
#[must_use]
pub fn is_same_vswitch(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::OvsPort { db: one, .. }, Step::OvsPort { db: other, .. }) => one == other,
        (Step::VppPort { api: one, .. }, Step::VppPort { api: other, .. }) => one == other,
        _ => false,
    }
}

/// Makes again what a step made, from the beginning: what there is of it goes first.
///
/// # Errors
/// When the vswitch cannot be reached, or refuses.
pub fn make_again(step: &Step, told: &CniResult) -> Result<(), CniError> {
    match step {
        #[cfg(feature = "ovs")]
        Step::OvsPort { db, port, socket: Some(socket), .. } => ovs::make_again(db, port, socket),
        #[cfg(feature = "vpp")]
        Step::VppPort { api, port, .. } => vpp::make_again(api, port, told),
        _ => {
            let _ = told;
            Ok(())
        }
    }
}

/// Sets again what a vswitch forgets by itself of what a step made. Says what it was.
///
/// # Errors
/// When the vswitch cannot be reached, or refuses.
pub fn put_back(step: &Step) -> Result<Vec<String>, CniError> {
    match step {
        #[cfg(feature = "vpp")]
        Step::VppPort { api, port, .. } => vpp::put_back(api, port),
        _ => Ok(Vec::new()),
    }
}

/// That the engine is not in this build.
fn no_engine(engine: Engine) -> CniError {
    CniError::refused("host.engine", format!("{engine:?}"), "this build has no such engine")
}
