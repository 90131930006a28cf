//! DEL: whatever the record names goes. Nothing there is success.

use super::Call;
use super::undo::{Means, undo};
use crate::conf::Engine;
use crate::error::CniError;
use crate::ipam::{Attachment, Delegate};
use crate::plan::{container_dir, ovs_timeout};
use crate::state::{Exclusive, OldRecord, Owner, Store, remove_directory, remove_file};

pub(super) fn del(call: &Call) -> Result<(), CniError> {
    let owner = Owner::new(&call.conf().name, &call.env.container_id, &call.env.if_name);
    let store = Store::open(&call.data_dir(), Exclusive::No)?;
    let timeout = ovs_timeout(call.conf());
    let means = Means { store: &store, path: &call.env.path, timeout };
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
        match remove_old(call, &old) {
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

#[cfg(feature = "ovs")]
fn remove_old(call: &Call, old: &OldRecord) -> Result<(), CniError> {
    use crate::engines::ovs::Database;
    use crate::plan::ovs_db;
    let OldRecord::Ovs(old) = old else { return Err(super::no_engine(Engine::Vpp)) };
    let mut database = Database::connect(ovs_db(call.conf()), ovs_timeout(call.conf()))?;
    database.remove_port(&old.vhostname, &call.conf().host.bridge.bridge_name, None)?;
    let dir = container_dir(call.conf(), Engine::Ovs, &call.env)?;
    if crate::env::is_identifier(&old.vhostname) {
        remove_file(&dir.join(&old.vhostname))?;
    }
    remove_directory(&dir)
}

#[cfg(not(feature = "ovs"))]
fn remove_old(call: &Call, _: &OldRecord) -> Result<(), CniError> {
    let _ = (container_dir(call.conf(), Engine::Ovs, &call.env), remove_directory, remove_file);
    Err(super::no_engine(Engine::Ovs))
}
