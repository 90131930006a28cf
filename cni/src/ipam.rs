//! Addresses, from another plugin.
//!
//! The delegate is asked which versions it speaks, and gets the configuration in the newest one that
//! is not newer than ours.

mod process;

use crate::error::{CniError, code};
use crate::result::CniResult;
use crate::state::Owner;
use crate::version::CniVersion;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A delegate.
#[derive(Debug, Clone)]
pub struct Delegate {
    program: PathBuf,
    path: Vec<PathBuf>,
}

/// Whose addresses a delegate is called for.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Whose.
    pub owner: &'a Owner,
    /// The container's namespace; may be empty.
    pub netns: &'a str,
    /// `CNI_ARGS`
    pub args: &'a str,
}

impl Delegate {
    /// Looks for a plugin in `CNI_PATH`.
    ///
    /// # Errors
    /// Code 7 when it is not there.
    pub fn find(name: &str, path: &[PathBuf]) -> Result<Self, CniError> {
        let found = path.iter().map(|directory| directory.join(name)).find(|file| file.is_file());
        let reason = || CniError::refused("ipam.type", name, "there is no such plugin in CNI_PATH");
        Ok(Self { program: found.ok_or_else(reason)?, path: path.to_vec() })
    }

    /// The newest version that both the delegate and the configuration can have.
    ///
    /// # Errors
    /// Code 1 when there is none.
    pub fn version_for(&self, wanted: CniVersion) -> Result<CniVersion, CniError> {
        let question = json!({ "cniVersion": CniVersion::NEWEST.as_str() });
        let answer = self.run("VERSION", None, &question)?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let listed = answer["supportedVersions"].as_array().cloned().unwrap_or_default();
        let spoken = listed.iter().filter_map(|version| version.as_str()?.parse().ok());
        spoken.filter(|version: &CniVersion| *version <= wanted).max().ok_or_else(|| {
            let details = format!("{} speaks none up to {wanted}", self.program.display());
            CniError::new(code::INCOMPATIBLE_VERSION, "the IPAM plugin is too new")
                .with_details(details)
        })
    }

    /// The configuration as the delegate gets it.
    ///
    /// # Errors
    /// When the delegate has no version for it.
    pub fn config(&self, raw: &Value, wanted: CniVersion) -> Result<Value, CniError> {
        let mut config = raw.clone();
        config["cniVersion"] = Value::from(self.version_for(wanted)?.as_str());
        if let Some(members) = config.as_object_mut() {
            members.remove("prevResult");
        }
        Ok(config)
    }

    /// Asks for addresses.
    ///
    /// # Errors
    /// The delegate's; code 103 when it gives no address.
    pub fn add(&self, whose: Attachment<'_>, config: &Value) -> Result<CniResult, CniError> {
        let answer = self.run("ADD", Some(whose), config)?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|e| CniError::caused(code::DECODE, "cannot decode the IPAM result", &e))?;
        let result = CniResult::from_json(&answer)?;
        if result.ips.is_empty() {
            return Err(CniError::new(code::IPAM, "the IPAM plugin gave no address"));
        }
        Ok(result)
    }

    /// Gives addresses back. None were taken: that is fine.
    ///
    /// # Errors
    /// The delegate's.
    pub fn del(&self, whose: Attachment<'_>, config: &Value) -> Result<(), CniError> {
        self.run("DEL", Some(whose), config).map(|_| ())
    }

    /// Asks whether the addresses are still taken.
    ///
    /// # Errors
    /// The delegate's.
    pub fn check(&self, whose: Attachment<'_>, config: &Value) -> Result<(), CniError> {
        self.run("CHECK", Some(whose), config).map(|_| ())
    }

    /// Runs a verb that is for no attachment. A delegate that does not know it is left alone.
    ///
    /// # Errors
    /// The delegate's.
    pub fn general(&self, verb: &str, config: &Value) -> Result<(), CniError> {
        match self.run(verb, None, config) {
            Err(error) if error.code == code::BAD_ENVIRONMENT => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn run(
        &self,
        verb: &str,
        whose: Option<Attachment<'_>>,
        config: &Value,
    ) -> Result<Vec<u8>, CniError> {
        process::run(&self.program, &self.path, verb, whose, config)
    }
}
