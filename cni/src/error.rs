//! The error that a runtime is told.

use crate::version::CniVersion;
use serde_json::{Value, json};
use std::error::Error;
use std::fmt;

/// Error codes. Those below 100 are the specification's.
pub mod code {
    /// The configuration's version is not spoken.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A container or attachment is not known.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// An environment variable is missing or wrong.
    pub const BAD_ENVIRONMENT: u32 = 4;
    /// A file or socket cannot be used.
    pub const IO: u32 = 5;
    /// JSON does not parse.
    pub const DECODE: u32 = 6;
    /// The configuration asks for what cannot be.
    pub const BAD_CONFIG: u32 = 7;
    /// The network namespace is the plugin's own.
    pub const BAD_NETNS: u32 = 8;
    /// Later it may work.
    pub const TRY_AGAIN: u32 = 11;
    /// No attachment can be made now.
    pub const NOT_AVAILABLE: u32 = 50;
    /// The vswitch refused.
    pub const VSWITCH: u32 = 100;
    /// The attachment is there already.
    pub const EXISTS: u32 = 101;
    /// CHECK found something missing or different.
    pub const CHECK_FAILED: u32 = 102;
    /// The IPAM delegate failed without an error of its own.
    pub const IPAM: u32 = 103;
    /// The API server of Kubernetes refused, or the pod's annotations leave no way.
    pub const KUBERNETES: u32 = 104;
}

/// Why a call failed, in the terms of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniError {
    /// One of [`code`], or the delegate's.
    pub code: u32,
    /// What failed.
    pub msg: String,
    /// Why; may be empty.
    pub details: String,
}

impl CniError {
    /// An error without details.
    #[must_use]
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// Adds why.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// An error with the chain of its causes as details.
    #[must_use]
    pub fn caused(code: u32, msg: impl Into<String>, cause: &dyn Error) -> Self {
        let mut details = cause.to_string();
        let mut next = cause.source();
        while let Some(source) = next {
            details.push_str(": ");
            details.push_str(&source.to_string());
            next = source.source();
        }
        Self::new(code, msg).with_details(details)
    }

    /// A configuration that is refused: which key, what it says, why not.
    #[must_use]
    pub fn refused(key: &str, value: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::new(code::BAD_CONFIG, format!("invalid configuration: {key}"))
            .with_details(format!("{key} = {value}: {reason}"))
    }

    /// A file or directory that cannot be used.
    #[must_use]
    pub fn io(operation: &str, path: &std::path::Path, cause: &dyn Error) -> Self {
        Self::caused(code::IO, format!("cannot {operation} {}", path.display()), cause)
    }

    /// The error as it is printed.
    #[must_use]
    pub fn to_json(&self, version: CniVersion) -> Value {
        let mut error = json!({
            "cniVersion": version.as_str(),
            "code": self.code,
            "msg": self.msg,
        });
        if !self.details.is_empty() {
            error["details"] = Value::from(self.details.clone());
        }
        error
    }

    /// Several errors as one: the first one's code, everybody's words.
    #[must_use]
    pub fn joined(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        for error in errors {
            let separator = if first.details.is_empty() { "" } else { "; " };
            first.details.push_str(separator);
            first.details.push_str(&error.to_string());
        }
        Some(first)
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

impl Error for CniError {}
