//! CHECK: what the record says against what is there.

use super::Call;
use super::add::data_file;
use crate::conf::Mode;
use crate::engines;
use crate::error::{CniError, code};
use crate::ipam::{Attachment, Delegate};
use crate::plan::Plan;
use crate::result::CniResult;
use crate::state::{Exclusive, Phase, Record, Step, Store};
use crate::version::CniVersion;
use serde_json::Value;

pub(super) fn check(call: &Call) -> Result<(), CniError> {
    let plan = Plan::new(&call.parsed, &call.env)?;
    let store = Store::open(&call.data_dir(), Exclusive::No)?;
    let Some(record) = store.get(&plan.owner)? else {
        let details = format!("{} of {}", plan.owner.if_name, plan.owner.container_id);
        return Err(
            CniError::new(code::UNKNOWN_CONTAINER, "no such attachment").with_details(details)
        );
    };
    let mut found = Vec::new();
    if record.phase != Phase::Ready {
        found.push(format!("the attachment is unfinished: {:?}", record.phase));
    }
    let previous = previous(call)?;
    found.extend(result_differences(&previous, &record));
    found.extend(file_differences(&plan, &record));
    let told = record.result.clone().unwrap_or_default();
    found.extend(engines::of(call.conf(), plan.engine)?.differences(&plan, &told)?);
    if !found.is_empty() {
        let msg = "the attachment is not as it was made";
        return Err(CniError::new(code::CHECK_FAILED, msg).with_details(found.join("; ")));
    }
    check_ipam(call, &record, &previous)
}

fn previous(call: &Call) -> Result<CniResult, CniError> {
    match call.conf().prev_result.clone() {
        Some(previous) => CniResult::from_json(&Value::Object(previous)),
        None => Err(CniError::refused("prevResult", "", "missing: CHECK needs it")),
    }
}

/// Everything that we told must still be in the result of the whole chain.
fn result_differences(previous: &CniResult, record: &Record) -> Vec<String> {
    let told = record.result.clone().unwrap_or_default();
    let mut found = Vec::new();
    for interface in &told.interfaces {
        let same = |other: &&crate::result::Interface| {
            (&other.name, &other.sandbox) == (&interface.name, &interface.sandbox)
        };
        if !previous.interfaces.iter().any(|other| same(&other)) {
            found.push(format!("prevResult lacks interface {}", interface.name));
        }
    }
    for ip in &told.ips {
        if !previous.ips.iter().any(|other| other.address == ip.address) {
            found.push(format!("prevResult lacks address {}", ip.address));
        }
    }
    found
}

/// The pod's annotations are not looked at: they repeat the file, anybody who may edit the pod may change
/// them, and an API server that is down does not make an attachment worse.
fn file_differences(plan: &Plan, record: &Record) -> Vec<String> {
    let mut needed = vec![plan.dir.clone(), data_file(plan)];
    if plan.host_mode == Mode::Server && plan.netns.is_none() {
        needed.push(plan.socket.clone());
    }
    needed.extend(record.steps.iter().filter_map(|step| match step {
        Step::DeviceInfo { path } => Some(path.clone()),
        _ => None,
    }));
    let missing = needed.iter().filter(|path| path.symlink_metadata().is_err());
    missing.map(|path| format!("{} is not there", path.display())).collect()
}

fn check_ipam(call: &Call, record: &Record, previous: &CniResult) -> Result<(), CniError> {
    for step in &record.steps {
        let Step::Ipam { plugin, config, netns, args } = step else { continue };
        let delegate = Delegate::find(plugin, &call.env.path)?;
        // The network's version may have changed since ADD; before 0.4.0 there was no CHECK.
        let version = delegate.version_for(call.parsed.version)?;
        if version < CniVersion::V0_4_0 {
            continue;
        }
        let mut config = config.clone();
        config["cniVersion"] = Value::from(version.as_str());
        config["prevResult"] = previous.to_json(version);
        delegate.check(Attachment { owner: &record.owner, netns, args }, &config)?;
    }
    Ok(())
}
