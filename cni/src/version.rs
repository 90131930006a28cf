//! Versions of the CNI specification.

use crate::error::{CniError, code};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// A version of the specification that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the versions")]
pub enum CniVersion {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl CniVersion {
    /// The newest version.
    pub const NEWEST: Self = Self::V1_1_0;

    /// All versions, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The version as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Version of a configuration or a result. One that names none is of the oldest.
    ///
    /// # Errors
    /// Code 1 when we do not speak it.
    pub fn of(document: &Value) -> Result<Self, CniError> {
        match document.get("cniVersion").and_then(Value::as_str) {
            None | Some("") => Ok(Self::V0_1_0),
            Some(text) => text.parse(),
        }
    }

    /// What VERSION answers.
    #[must_use]
    pub fn report(self) -> Value {
        json!({ "cniVersion": self.as_str(), "supportedVersions": Self::ALL.map(Self::as_str) })
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CniVersion {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Self, CniError> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(|| {
            let supported = Self::ALL.map(Self::as_str).join(", ");
            CniError::new(code::INCOMPATIBLE_VERSION, "incompatible CNI versions")
                .with_details(format!("config is \"{text}\", plugin supports {supported}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_version_is_the_oldest() {
        assert_eq!(CniVersion::of(&json!({})).unwrap(), CniVersion::V0_1_0);
    }

    #[test]
    fn unknown_version_is_refused_naming_the_supported_ones() {
        let error = CniVersion::of(&json!({"cniVersion": "9.9.9"})).unwrap_err();
        assert_eq!(error.code, 1);
        for version in CniVersion::ALL {
            assert!(error.details.contains(version.as_str()), "{error:?}");
        }
    }
}
