//! Which pod a container is of.

use crate::error::{CniError, code};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest namespace, in bytes. Spec: RFC 1123 label.
const NAMESPACE_MAX: usize = 63;
/// Longest name of a pod, in bytes. Spec: RFC 1123 subdomain.
const NAME_MAX: usize = 253;
/// Longest UID that is believed, in bytes.
const UID_MAX: usize = 128;

/// A pod, as the runtime names it in `CNI_ARGS`. All parts can stand in a URL as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodName {
    /// `K8S_POD_NAMESPACE`
    pub namespace: String,
    /// `K8S_POD_NAME`
    pub name: String,
    /// `K8S_POD_UID`; empty when the runtime does not say.
    pub uid: String,
}

impl PodName {
    /// Reads `CNI_ARGS`. `None`: the container is of no pod.
    ///
    /// # Errors
    /// Code 4: a part is missing, has two values, or cannot be one.
    pub fn from_args(args: &str) -> Result<Option<Self>, CniError> {
        let get = |key: &str| -> Result<&str, CniError> {
            let pairs = args.split(';').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(name, value)| *name == key && !value.is_empty());
            let first = values.next().map_or("", |(_, value)| value);
            // Multus repeats what the runtime gave it after what it made of that.
            if values.any(|(_, value)| value != first) {
                return Err(bad(format!("CNI_ARGS has two values of {key}")));
            }
            Ok(first)
        };
        let namespace = get("K8S_POD_NAMESPACE")?;
        let (name, uid) = (get("K8S_POD_NAME")?, get("K8S_POD_UID")?);
        if namespace.is_empty() && name.is_empty() {
            return Ok(None);
        }
        check("K8S_POD_NAMESPACE", namespace, NAMESPACE_MAX, |c| c == '-')?;
        check("K8S_POD_NAME", name, NAME_MAX, |c| c == '-' || c == '.')?;
        if !uid.is_empty() {
            check("K8S_POD_UID", &uid.to_ascii_lowercase(), UID_MAX, |c| c == '-')?;
        }
        let owned = str::to_owned;
        Ok(Some(Self { namespace: owned(namespace), name: owned(name), uid: owned(uid) }))
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Lower-case letters and digits, and what `also` allows between them.
fn check(key: &str, value: &str, max: usize, also: fn(char) -> bool) -> Result<(), CniError> {
    if value.is_empty() {
        return Err(bad(format!("CNI_ARGS lacks {key}")));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let all = value.chars().all(|c| plain(c) || also(c));
    if all && value.starts_with(plain) && value.ends_with(plain) && value.len() <= max {
        return Ok(());
    }
    let shown: String = value.chars().take(max).collect();
    Err(bad(format!("CNI_ARGS has no proper {key}")).with_details(shown.escape_debug().to_string()))
}

fn bad(msg: String) -> CniError {
    CniError::new(code::BAD_ENVIRONMENT, msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &str) -> Result<Option<PodName>, CniError> {
        PodName::from_args(args)
    }

    #[test]
    fn pod_is_found_among_other_arguments_and_absent_without_them() {
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=a.b-1;K8S_POD_UID=0F-1;X=a=b";
        let pod = of(args).unwrap().unwrap();
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()),
            ("ns", "a.b-1", "0F-1")
        );
        assert_eq!(of("IgnoreUnknown=1;MAC=02:00:00:00:00:01"), Ok(None));
        assert_eq!(of(""), Ok(None));
    }

    #[test]
    fn pod_arguments_that_could_leave_their_place_in_a_url_are_code_4() {
        let long = "a".repeat(254);
        for name in
            ["../x", "a/b", "a?x=1", "a#b", "a%2e", "..", ".a", "a.", "A", "a b", "é", &long]
        {
            let error = of(&format!("K8S_POD_NAMESPACE=ns;K8S_POD_NAME={name}")).unwrap_err();
            assert_eq!(error.code, 4, "{name}");
            let error = of(&format!("K8S_POD_NAMESPACE={name};K8S_POD_NAME=p")).unwrap_err();
            assert_eq!(error.code, 4, "{name}");
        }
        for uid in ["a/b", "..", "a b", "a\nb"] {
            let args = format!("K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID={uid}");
            assert_eq!(of(&args).unwrap_err().code, 4, "{uid}");
        }
    }

    #[test]
    fn half_a_name_and_two_names_are_code_4() {
        for args in [
            "K8S_POD_NAME=p",
            "K8S_POD_NAMESPACE=ns",
            "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_NAME=q",
        ] {
            assert_eq!(of(args).unwrap_err().code, 4, "{args}");
        }
    }

    #[test]
    fn arguments_that_multus_repeats_count_once() {
        let args = "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID=";
        let twice = of(&format!("IgnoreUnknown=true;{args};IgnoreUnknown=1;{args}5a")).unwrap();
        assert_eq!(twice, of(&format!("{args}5a")).unwrap());
        assert_eq!(twice.unwrap().uid, "5a");
    }
}
