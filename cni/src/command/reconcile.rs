//! Not a verb of the specification: what a vswitch has lost by a restart is made again, and what it
//! forgets by itself is set again.

use crate::conf::{DATA_DIR, NetConf};
use crate::engines;
use crate::error::{CniError, code};
use crate::logging;
use crate::state::{Exclusive, Owner, Phase, Record, Step, Store};
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
    let round = go_round(data_dir)?;
    let well = round.failed.is_empty();
    let failed = round.failed.into_iter().map(|(owner, error)| {
        let mut said = name(&owner);
        said["error"] = error.to_json(CniVersion::NEWEST);
        said
    });
    let there = round.there.into_iter().map(|(owner, set)| {
        let mut said = name(&owner);
        if !set.is_empty() {
            said["set"] = Value::from(set);
        }
        said
    });
    let restored: Vec<Value> = round.restored.iter().map(name).collect();
    let there: Vec<Value> = there.collect();
    let failed: Vec<Value> = failed.collect();
    Ok((json!({ "restored": restored, "there": there, "failed": failed }), well))
}

/// What became of all attachments.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Those that were made again.
    pub(super) restored: Vec<Owner>,
    /// Those that were there, and what of them was set again.
    pub(super) there: Vec<(Owner, Vec<String>)>,
    /// Those with which something is wrong.
    pub(super) failed: Vec<(Owner, CniError)>,
}

pub(super) fn go_round(data_dir: Option<&Path>) -> Result<Round, CniError> {
    // Nobody adds or deletes meanwhile: what is made again must not be what was just deleted.
    let store = Store::open(data_dir.unwrap_or_else(|| Path::new(DATA_DIR)), Exclusive::Yes)?;
    let mut round = Round::default();
    let mut silent = Vec::new();
    for owner in store.all_owners()? {
        match attend(&store, &owner, &mut silent) {
            Ok(Attended::Restored) => round.restored.push(owner),
            Ok(Attended::There(set)) => round.there.push((owner, set)),
            Ok(Attended::Unfinished) => {}
            Err(error) => round.failed.push((owner, error)),
        }
    }
    Ok(round)
}

/// What became of an attachment.
enum Attended {
    /// It was made again.
    Restored,
    /// It was there; these things were set again.
    There(Vec<String>),
    /// There is nothing that it could be compared with.
    Unfinished,
}

/// Looks after an attachment. A vswitch that has not answered is in `silent`, and is not waited for
/// another time.
fn attend(store: &Store, owner: &Owner, silent: &mut Vec<Step>) -> Result<Attended, CniError> {
    let Some(mut record) = store.get(owner)? else { return Ok(Attended::Unfinished) };
    if !matches!(record.phase, Phase::Ready | Phase::Restoring) {
        return Ok(Attended::Unfinished);
    }
    let steps = record.steps.clone();
    if steps.iter().any(|step| silent.iter().any(|other| engines::is_same_vswitch(step, other))) {
        return Err(CniError::new(code::TRY_AGAIN, "the vswitch has not answered before"));
    }
    let mut note = |step: &Step, error: &CniError| {
        if error.code == code::TRY_AGAIN {
            silent.push(step.clone());
        }
    };
    let mut restored = false;
    for step in &steps {
        restored |= restore(store, &mut record, step).inspect_err(|error| note(step, error))?;
    }
    record.phase = Phase::Ready;
    if restored {
        store.put(&record)?;
    }
    let mut set = Vec::new();
    for step in &steps {
        set.extend(engines::put_back(step).inspect_err(|error| note(step, error))?);
    }
    Ok(if restored { Attended::Restored } else { Attended::There(set) })
}

/// Makes again what a step made, if it is lost; says whether it was. While it is being made the record
/// says so: what a kill leaves is made anew by the next call.
fn restore(store: &Store, record: &mut Record, step: &Step) -> Result<bool, CniError> {
    let told = record.result.clone().unwrap_or_default();
    if record.phase == Phase::Ready && !engines::is_lost(step, &told)? {
        return Ok(false);
    }
    record.phase = Phase::Restoring;
    store.put(record)?;
    engines::make_again(step, &told)?;
    Ok(true)
}

fn name(owner: &Owner) -> Value {
    json!({
        "network": owner.network, "containerID": owner.container_id, "ifname": owner.if_name,
    })
}
