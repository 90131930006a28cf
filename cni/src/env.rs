//! What the runtime says about a call in the environment.

use crate::error::{CniError, code};
use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest name of an interface, in bytes.
const IF_NAME_MAX: usize = 15;
/// Longest container ID that still makes a file name, in bytes.
const CONTAINER_ID_MAX: usize = 200;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

impl FromStr for Verb {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Self, CniError> {
        Ok(match text {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            other => return Err(bad(format!("unknown CNI_COMMAND: {other}"), "")),
        })
    }
}

/// The environment of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEnv {
    /// `CNI_COMMAND`
    pub verb: Verb,
    /// `CNI_CONTAINERID`; empty for GC, STATUS, VERSION.
    pub container_id: String,
    /// `CNI_IFNAME`; empty for GC, STATUS, VERSION.
    pub if_name: String,
    /// `CNI_NETNS`; empty when unset.
    pub netns: String,
    /// `CNI_ARGS`, as given.
    pub args: String,
    /// `CNI_PATH`: where delegates are looked for.
    pub path: Vec<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: the namespace may be the plugin's own.
    pub netns_override: bool,
}

impl CallEnv {
    /// Reads the environment. `None`: no command was given.
    ///
    /// # Errors
    /// Code 4: a variable is missing or wrong.
    pub fn read(
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Option<Self>, CniError> {
        let vars: HashMap<String, String> = vars.into_iter().collect();
        let get = |name: &str| vars.get(name).cloned().unwrap_or_default();
        let command = get("CNI_COMMAND");
        if command.is_empty() {
            return Ok(None);
        }
        let verb: Verb = command.parse()?;
        let missing: Vec<&str> =
            verb.required().iter().copied().filter(|name| get(name).is_empty()).collect();
        if !missing.is_empty() {
            return Err(bad(format!("required env variables [{}] missing", missing.join(",")), ""));
        }
        let env = Self {
            verb,
            container_id: get("CNI_CONTAINERID"),
            if_name: get("CNI_IFNAME"),
            netns: get("CNI_NETNS"),
            args: get("CNI_ARGS"),
            path: std::env::split_paths(&get("CNI_PATH")).collect(),
            netns_override: matches!(get("CNI_NETNS_OVERRIDE").as_str(), "1" | "true" | "TRUE"),
        };
        if verb.required().contains(&"CNI_CONTAINERID") {
            check_container_id(&env.container_id)?;
            check_if_name(&env.if_name)?;
        }
        Ok(Some(env))
    }

    /// The first twelve characters of the container's ID, or all when it is shorter.
    #[must_use]
    pub fn short_id(&self) -> &str {
        short_id(&self.container_id)
    }

    /// The last value of a key of `CNI_ARGS`, which is `KEY=VALUE;KEY=VALUE`.
    #[must_use]
    pub fn arg(&self, key: &str) -> Option<&str> {
        let pairs = self.args.split(';').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next_back()
    }
}

/// The first twelve characters of an ID, or all when it is shorter.
#[must_use]
pub fn short_id(container_id: &str) -> &str {
    container_id.get(..12).unwrap_or(container_id)
}

/// Whether a container ID is one.
///
/// # Errors
/// Code 4 when it is not.
pub fn check_container_id(id: &str) -> Result<(), CniError> {
    if !is_identifier(id) {
        return Err(bad("invalid characters in containerID", id));
    }
    if id.len() > CONTAINER_ID_MAX {
        return Err(bad("containerID is too long", id));
    }
    Ok(())
}

/// Whether an interface name is one.
///
/// # Errors
/// Code 4 when it is not.
pub fn check_if_name(name: &str) -> Result<(), CniError> {
    if name.is_empty() {
        return Err(bad("interface name is empty", ""));
    }
    if name.len() > IF_NAME_MAX {
        return Err(bad(format!("interface name is longer than {IF_NAME_MAX} bytes"), name));
    }
    if name == "." || name == ".." {
        return Err(bad("interface name is . or ..", name));
    }
    if name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        return Err(bad("interface name contains / or : or whitespace", name));
    }
    Ok(())
}

/// A letter or digit, then letters, digits, `_`, `.`, `-`.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(ok)
}

fn bad(msg: impl Into<String>, details: &str) -> CniError {
    CniError::new(code::BAD_ENVIRONMENT, msg).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Option<CallEnv>, CniError> {
        CallEnv::read(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn no_command_is_no_call() {
        assert_eq!(read(&[("CNI_PATH", "/x")]), Ok(None));
    }

    #[test]
    fn missing_variables_are_listed() {
        let error = read(&[("CNI_COMMAND", "ADD"), ("CNI_NETNS", "/n")]).unwrap_err();
        assert_eq!(error.code, 4);
        assert_eq!(
            error.msg,
            "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing"
        );
        let error = read(&[("CNI_COMMAND", "STATUS")]).unwrap_err();
        assert_eq!(error.msg, "required env variables [CNI_PATH] missing");
    }

    #[test]
    fn del_does_without_a_namespace() {
        let vars = [
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "net1"),
            ("CNI_PATH", "/a:/b"),
        ];
        let env = read(&vars).unwrap().unwrap();
        assert_eq!(env.verb, Verb::Del);
        assert_eq!(env.path.len(), 2);
    }

    #[test]
    fn last_value_of_an_argument_counts_and_pieces_without_value_are_passed_over() {
        let vars = [
            ("CNI_COMMAND", "GC"),
            ("CNI_PATH", "/a"),
            ("CNI_ARGS", "IgnoreUnknown=1;MAC=a;;MAC;XMAC=c;MAC=b=c"),
        ];
        let env = read(&vars).unwrap().unwrap();
        assert_eq!(env.arg("MAC"), Some("b=c"));
        assert_eq!(env.arg("IP"), None);
    }

    #[test]
    fn short_container_id_is_used_whole() {
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(short_id("0123456789abcdef"), "0123456789ab");
    }

    #[test]
    fn names_that_could_leave_a_directory_are_refused() {
        for id in ["../x", "", "-a", "a/b", "a b"] {
            assert_eq!(check_container_id(id).unwrap_err().code, 4, "{id}");
        }
        for name in ["..", ".", "", "a/b", "a:b", "a b", "sixteen-bytes-xx"] {
            assert_eq!(check_if_name(name).unwrap_err().code, 4, "{name}");
        }
    }

    #[test]
    fn unknown_command_is_refused() {
        assert_eq!(read(&[("CNI_COMMAND", "X")]).unwrap_err().msg, "unknown CNI_COMMAND: X");
    }
}
