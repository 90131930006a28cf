//! STATUS: whether an ADD could succeed now.

use super::Call;
use crate::engines;
use crate::error::{CniError, code};
use crate::ipam::Delegate;
use crate::plan::kind_of_interface;
use crate::version::CniVersion;

pub(super) fn status(call: &Call) -> Result<(), CniError> {
    let (engine, _) = kind_of_interface(call.conf())?;
    let vswitch = engines::of(call.conf(), engine);
    vswitch.and_then(|vswitch| vswitch.status()).map_err(unavailable)?;
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
