//! Not a verb of the specification: what a restarted vswitch has lost is made again.

use crate::conf::{DATA_DIR, NetConf};
use crate::engines;
use crate::error::CniError;
use crate::logging;
use crate::state::{Exclusive, Owner, Phase, Store};
use crate::version::CniVersion;
use serde_json::{Value, json};
use std::path::Path;

/// Goes through all records below `data_dir`, or where they are by default. An ADD or DEL that has not
/// ended well is none of its business. Returns what was done, and whether all went well.
///
/// # Errors
/// Code 5 when there are no records to be read.
pub fn reconcile(data_dir: Option<&Path>) -> Result<(Value, bool), CniError> {
    logging::start(&NetConf::default());
    // Nobody adds or deletes meanwhile: what is made again must not be what was just deleted.
    let store = Store::open(data_dir.unwrap_or_else(|| Path::new(DATA_DIR)), Exclusive::Yes)?;
    let (mut restored, mut there, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for owner in store.all_owners()? {
        match restore(&store, &owner) {
            Ok(Some(true)) => restored.push(name(&owner)),
            Ok(Some(false)) => there.push(name(&owner)),
            Ok(None) => {}
            Err(error) => {
                let mut said = name(&owner);
                said["error"] = error.to_json(CniVersion::NEWEST);
                failed.push(said);
            }
        }
    }
    let well = failed.is_empty();
    Ok((json!({ "restored": restored, "there": there, "failed": failed }), well))
}

/// Whether something was made again; nothing, when there is nothing to be compared with. While it is
/// being made the record says so: what a kill leaves is made anew by the next call.
fn restore(store: &Store, owner: &Owner) -> Result<Option<bool>, CniError> {
    let Some(mut record) = store.get(owner)? else { return Ok(None) };
    if !matches!(record.phase, Phase::Ready | Phase::Restoring) {
        return Ok(None);
    }
    let told = record.result.clone().unwrap_or_default();
    let mut restored = false;
    for step in record.steps.clone() {
        if record.phase == Phase::Ready && !engines::is_lost(&step, &told)? {
            continue;
        }
        record.phase = Phase::Restoring;
        store.put(&record)?;
        engines::make_again(&step, &told)?;
        restored = true;
    }
    record.phase = Phase::Ready;
    if restored {
        store.put(&record)?;
    }
    Ok(Some(restored))
}

fn name(owner: &Owner) -> Value {
    json!({
        "network": owner.network, "containerID": owner.container_id, "ifname": owner.if_name,
    })
}
