//! A build without a client of the API server.

use super::PodName;
use crate::conf::NetConf;
use crate::env::CallEnv;
use crate::error::{CniError, code};
use crate::plan::Plan;
use crate::state::{Owner, Step};
use serde_json::Value;
use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;

/// A pod that ADD has read: there is none.
#[derive(Debug)]
pub struct Visit(Infallible);

impl Visit {
    /// Refuses a configuration that names an API server.
    ///
    /// # Errors
    /// Code 7.
    pub fn begin(conf: &NetConf, _: &CallEnv, _: &Plan) -> Result<Option<Self>, CniError> {
        if conf.kubeconfig.is_empty() {
            return Ok(None);
        }
        let reason = "this build has no client for Kubernetes: leave it out";
        Err(CniError::refused("kubeconfig", &conf.kubeconfig, reason))
    }

    /// What is about to be done, for the record.
    #[must_use]
    pub const fn step(&self) -> Step {
        match self.0 {}
    }

    /// Where the pod's containers see their sockets.
    #[must_use]
    pub const fn mapped_dir(&self) -> &str {
        match self.0 {}
    }

    /// Whether there may be something in the annotations because of us.
    #[must_use]
    pub const fn may_have_written(&self) -> bool {
        match self.0 {}
    }

    /// Adds the data of an interface to the pod's annotations.
    ///
    /// # Errors
    /// None.
    pub const fn annotate(&mut self, _: &Value) -> Result<(), CniError> {
        match self.0 {}
    }
}

/// Cannot remove what another build wrote.
///
/// # Errors
/// Code 104, always.
pub fn remove(_: &Path, pod: &PodName, _: &str, _: &Owner, _: Instant) -> Result<(), CniError> {
    let msg = format!("this build cannot change the annotations of the pod {pod}");
    Err(CniError::new(code::KUBERNETES, msg))
}
