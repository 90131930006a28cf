//! GC: whatever the runtime does not name goes, here, on the vswitch, and at the delegate.

use super::Call;
use super::undo::{API_TIME_OF_ALL, Means, undo};
use crate::conf::{Attachment, NetConf};
use crate::engines;
use crate::error::CniError;
use crate::ipam::Delegate;
use crate::kubernetes::Budget;
use crate::state::{Exclusive, Owner, Store};
use crate::version::CniVersion;

pub(super) fn gc(call: &Call) -> Result<(), CniError> {
    let conf = call.conf();
    let Some(valid) = conf.valid_attachments.as_ref().or(conf.attachments.as_ref()) else {
        let reason = "missing: without it everything would go";
        return Err(CniError::refused("cni.dev/valid-attachments", "", reason));
    };
    let store = Store::open(&call.data_dir(), Exclusive::Yes)?;
    let api = Budget::new(API_TIME_OF_ALL);
    let means = Means { store: &store, path: &call.env.path, conf, api: &api };
    let names = |owner: &Owner| valid.iter().any(|it| it.is(owner));
    let mut errors = Vec::new();
    for owner in store.owners(&conf.name)?.into_iter().filter(|owner| !names(owner)) {
        tracing::info!(container = owner.container_id, interface = owner.if_name, "collected");
        let undone = store.get(&owner).and_then(|record| match record {
            Some(record) => undo(record, means),
            None => Ok(()),
        });
        errors.extend(undone.err());
    }
    errors.extend(store.sweep(&conf.name).err());
    errors.extend(vswitch(conf, valid).err());
    errors.extend(delegate(call).err());
    CniError::joined(errors).map_or(Ok(()), Err)
}

/// Interfaces that carry our mark, whether there is a record or not.
fn vswitch(conf: &NetConf, valid: &[Attachment]) -> Result<(), CniError> {
    let Some(engine) = conf.host.engine else { return Ok(()) };
    engines::of(conf, engine)?.collect(&conf.name, valid)
}

fn delegate(call: &Call) -> Result<(), CniError> {
    let Some(plugin) = call.ipam() else { return Ok(()) };
    let delegate = Delegate::find(plugin, &call.env.path)?;
    if delegate.version_for(call.parsed.version)? < CniVersion::V1_1_0 {
        return Ok(());
    }
    delegate.general("GC", &call.parsed.raw)
}
