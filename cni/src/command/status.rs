//! STATUS: whether an ADD could succeed now.

use super::Call;
use crate::error::{CniError, code};
use crate::ipam::Delegate;
use crate::plan::kind_of_interface;
use crate::version::CniVersion;

pub(super) fn status(call: &Call) -> Result<(), CniError> {
    kind_of_interface(call.conf())?;
    vswitch(call)?;
    let Some(plugin) = call.ipam() else { return Ok(()) };
    let delegate = Delegate::find(plugin, &call.env.path).map_err(unavailable)?;
    if delegate.version_for(call.parsed.version).map_err(unavailable)? < CniVersion::V1_1_0 {
        return Ok(());
    }
    delegate.general("STATUS", &call.parsed.raw)
}

fn unavailable(error: CniError) -> CniError {
    CniError { code: code::NOT_AVAILABLE, ..error }
}

#[cfg(feature = "ovs")]
fn vswitch(call: &Call) -> Result<(), CniError> {
    use crate::conf::{Engine, Mode};
    use crate::engines::ovs::{Database, OvsError, port::kind};
    use crate::plan::{ovs_db, ovs_timeout};
    let conf = call.conf();
    if let Some(engine) = conf.host.engine.filter(|engine| *engine != Engine::Ovs) {
        return Err(unavailable(super::no_engine(engine)));
    }
    let ask = || -> Result<_, OvsError> {
        let mut database = Database::connect(ovs_db(conf), ovs_timeout(conf))?;
        // A vswitch that has gone leaves its last words in the database: have it answer.
        database.apply(Vec::new())?;
        database.vswitch()
    };
    let vswitch = ask().map_err(|error| unavailable(error.into()))?;
    let needed = kind(conf.host.vhost.mode.unwrap_or(Mode::Client));
    let reason = if !vswitch.dpdk {
        "DPDK is not initialised (other_config:dpdk-init)".to_owned()
    } else if !vswitch.iface_types.iter().any(|it| it == needed) {
        format!("ovs-vswitchd {} has no interfaces of type {needed}", vswitch.release)
    } else {
        return Ok(());
    };
    Err(CniError::new(code::NOT_AVAILABLE, "Open vSwitch").with_details(reason))
}

#[cfg(not(feature = "ovs"))]
fn vswitch(_: &Call) -> Result<(), CniError> {
    Err(unavailable(super::no_engine(crate::conf::Engine::Ovs)))
}
