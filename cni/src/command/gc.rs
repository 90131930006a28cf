//! GC: whatever the runtime does not name goes, here, on the vswitch, and at the delegate.

use super::Call;
use super::undo::{Means, undo};
use crate::conf::Attachment;
use crate::error::CniError;
use crate::ipam::Delegate;
use crate::plan::ovs_timeout;
use crate::state::{Exclusive, Owner, Store};
use crate::version::CniVersion;

pub(super) fn gc(call: &Call) -> Result<(), CniError> {
    let conf = call.conf();
    let Some(valid) = conf.valid_attachments.as_ref().or(conf.attachments.as_ref()) else {
        let reason = "missing: without it everything would go";
        return Err(CniError::refused("cni.dev/valid-attachments", "", reason));
    };
    let store = Store::open(&call.data_dir(), Exclusive::Yes)?;
    let means = Means { store: &store, path: &call.env.path, timeout: ovs_timeout(conf) };
    let mut errors = Vec::new();
    for owner in store.owners(&conf.name)?.into_iter().filter(|owner| !names(valid, owner)) {
        tracing::info!(container = owner.container_id, interface = owner.if_name, "collected");
        let undone = store.get(&owner).and_then(|record| match record {
            Some(record) => undo(record, means),
            None => Ok(()),
        });
        errors.extend(undone.err());
    }
    errors.extend(store.sweep(&conf.name).err());
    errors.extend(vswitch(call, valid).err());
    errors.extend(delegate(call).err());
    CniError::joined(errors).map_or(Ok(()), Err)
}

fn names(valid: &[Attachment], owner: &Owner) -> bool {
    valid.iter().any(|it| it.container_id == owner.container_id && it.if_name == owner.if_name)
}

/// Ports that carry our mark, whether there is a record or not.
#[cfg(feature = "ovs")]
fn vswitch(call: &Call, valid: &[Attachment]) -> Result<(), CniError> {
    use crate::conf::Engine;
    use crate::engines::ovs::Database;
    use crate::plan::ovs_db;
    if call.conf().host.engine != Some(Engine::Ovs) {
        return Ok(());
    }
    let mut database = Database::connect(ovs_db(call.conf()), ovs_timeout(call.conf()))?;
    for port in database.ports_of(&call.conf().name)? {
        if !names(valid, &port.owner) {
            database.remove_port(&port.name, &port.bridge, Some(&port.owner))?;
        }
    }
    Ok(())
}

#[cfg(not(feature = "ovs"))]
const fn vswitch(_: &Call, _: &[Attachment]) -> Result<(), CniError> {
    Ok(())
}

fn delegate(call: &Call) -> Result<(), CniError> {
    let Some(plugin) = call.ipam() else { return Ok(()) };
    let delegate = Delegate::find(plugin, &call.env.path)?;
    if delegate.version_for(call.parsed.version)? < CniVersion::V1_1_0 {
        return Ok(());
    }
    delegate.general("GC", &call.parsed.raw)
}
