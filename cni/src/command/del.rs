//! DEL: whatever the record names goes. Nothing there is success.

use super::Call;
use super::undo::{API_TIME, Means, undo};
use crate::engines;
use crate::error::CniError;
use crate::ipam::{Attachment, Delegate};
use crate::kubernetes::Budget;
use crate::state::{Exclusive, OldRecord, Owner, Store};

pub(super) fn del(call: &Call) -> Result<(), CniError> {
    let owner = Owner::new(&call.conf().name, &call.env.container_id, &call.env.if_name);
    let store = Store::open(&call.data_dir(), Exclusive::No)?;
    let api = Budget::new(API_TIME);
    let means = Means { store: &store, path: &call.env.path, conf: call.conf(), api: &api };
    match store.get(&owner)? {
        Some(record) => undo(record, means),
        None => {
            store.remove(&owner)?;
            without_record(call, &owner)
        }
    }
}

/// What the plugin before us may have made; and addresses, which cost nothing to give back twice.
fn without_record(call: &Call, owner: &Owner) -> Result<(), CniError> {
    let mut errors = Vec::new();
    let (data_dir, id, if_name) = (call.data_dir(), &owner.container_id, &owner.if_name);
    if let Some(old) = OldRecord::read(&data_dir, id, if_name)? {
        let vswitch = engines::of(call.conf(), old.engine());
        match vswitch.and_then(|vswitch| vswitch.remove_old(&old, &call.env)) {
            Ok(()) => OldRecord::remove(&data_dir, id, if_name)?,
            Err(error) => errors.push(error),
        }
    }
    if let Some(plugin) = call.ipam() {
        let whose = Attachment { owner, netns: &call.env.netns, args: &call.env.args };
        let given_back = Delegate::find(plugin, &call.env.path).and_then(|delegate| {
            let config = delegate.config(&call.parsed.raw, call.parsed.version)?;
            delegate.del(whose, &config)
        });
        errors.extend(given_back.err());
    }
    CniError::joined(errors).map_or(Ok(()), Err)
}
