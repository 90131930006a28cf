//! Taking away what a record names.

use crate::conf::NetConf;
use crate::device_info;
use crate::engines;
use crate::error::{CniError, code};
use crate::ipam::{Attachment, Delegate};
use crate::kubernetes::{self, Budget};
use crate::result::CniResult;
use crate::state::{Owner, Phase, Record, Step, Store, remove_directory, remove_file};
use std::path::PathBuf;
use std::time::Duration;

/// How long an API server may take when something is undone for one attachment.
pub(super) const API_TIME: Duration = Duration::from_secs(2);
/// The same for all attachments that GC collects.
pub(super) const API_TIME_OF_ALL: Duration = Duration::from_secs(10);

/// What undoing needs besides the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    /// Where the records are.
    pub(super) store: &'a Store,
    /// Where delegates are.
    pub(super) path: &'a [PathBuf],
    /// How long vswitches may take.
    pub(super) conf: &'a NetConf,
    /// How long API servers may take.
    pub(super) api: &'a Budget,
}

/// Undoes all steps, the last one first, whatever becomes of the others. The record goes when nothing
/// is left, and keeps what is.
pub(super) fn undo(mut record: Record, means: Means<'_>) -> Result<(), CniError> {
    let mut errors = Vec::new();
    let mut left = Vec::new();
    let told = record.result.clone().unwrap_or_default();
    for step in record.steps.drain(..).rev() {
        if let Err(error) = undo_step(&step, &record.owner, &told, means) {
            tracing::warn!(%error, "cannot undo a step");
            errors.push(error);
            left.push(step);
        }
    }
    if errors.is_empty() {
        return means.store.remove(&record.owner);
    }
    left.reverse();
    record.steps = left;
    record.phase = Phase::Deleting;
    // Where it cannot be written the old one stays, and names more than is left. What was in the way
    // in the first place is told in either case.
    errors.extend(means.store.put(&record).err());
    CniError::joined(errors).map_or(Ok(()), Err)
}

fn undo_step(
    step: &Step,
    owner: &Owner,
    told: &CniResult,
    means: Means<'_>,
) -> Result<(), CniError> {
    match step {
        Step::Directory { path } => remove_directory(path),
        Step::File { path } => remove_file(path),
        Step::OvsPort { .. } | Step::VppPort { .. } => engines::undo(step, owner, told, means.conf),
        Step::Ipam { plugin, config, netns, args } => {
            let whose = Attachment { owner, netns, args };
            Delegate::find(plugin, means.path)?.del(whose, config)
        }
        Step::DeviceInfo { path } => device_info::remove(path),
        Step::PodAnnotation { kubeconfig, pod, mapped_dir } => {
            let remove =
                |deadline| kubernetes::remove(kubeconfig, pod, mapped_dir, owner, deadline);
            // Nothing depends on it: the next ADD of the interface replaces what stays.
            match means.api.spend(remove) {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::warn!(%pod, %error, "the pod's annotations stay"),
                None => tracing::warn!(%pod, "the pod's annotations stay: no time is left"),
            }
            Ok(())
        }
    }
}

/// A record that ADD finds: what an earlier ADD or DEL left, or an attachment that is there.
pub(super) fn clear_way(owner: &Owner, means: Means<'_>) -> Result<(), CniError> {
    match means.store.get(owner)? {
        None => Ok(()),
        Some(record) if record.phase == Phase::Ready => {
            let details = format!("{} of {}", owner.if_name, owner.container_id);
            Err(CniError::new(code::EXISTS, "the attachment is there already")
                .with_details(details))
        }
        Some(unfinished) => undo(unfinished, means),
    }
}
