//! The directory of the sockets as the pod's containers see it: `userspace/mapped-dir`.
//!
//! It is text for the application. Nothing here is used as a path on the host.

use crate::env::is_identifier;
use crate::error::{CniError, code};
use crate::kubernetes::annotation::MAPPED_DIR;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Name of the volume by which containers see the sockets.
const VOLUME: &str = "shared-dir";
/// The directory that applications expect when no volume says another.
const DEFAULT: &str = "/var/lib/cni/usrspcni";
/// Longest directory, in bytes: `PATH_MAX`.
const DIRECTORY_MAX: usize = 4096;

/// Where a pod's containers see `dir`: below the place where the last of them that does so mounts the
/// volume `shared-dir`. A volume of that name that is not above `dir` shows something else; its place
/// is told all the same, since whoever wrote the pod may have arranged it.
#[must_use]
pub fn directory(pod: &Value, dir: &Path) -> String {
    let Some(mount) = mount(pod) else { return DEFAULT.to_owned() };
    let place = mount["mountPath"].as_str().filter(|place| is_plain(place));
    let Some(place) = place else { return DEFAULT.to_owned() };
    let mut shown = PathBuf::from(host_path(pod).unwrap_or_default());
    shown.push(mount["subPath"].as_str().filter(|sub| !sub.starts_with('/')).unwrap_or_default());
    match dir.strip_prefix(&shown) {
        Ok(rest) if shown.is_absolute() && !rest.as_os_str().is_empty() => {
            Path::new(place).join(rest).display().to_string()
        }
        Ok(_) if shown.is_absolute() => place.to_owned(),
        _ => {
            tracing::warn!(volume = VOLUME, "the volume does not show the sockets' directory");
            place.to_owned()
        }
    }
}

/// What the annotation is to say, given what it says. One that an earlier container of the pod left is
/// replaced; any other is somebody's decision. `dir` is the directory on the host.
///
/// # Errors
/// Code 104 when it says something else.
pub fn agreed<'a>(ours: &'a str, existing: &'a str, dir: &Path) -> Result<&'a str, CniError> {
    let (own, other) = (Path::new(ours), Path::new(existing));
    if existing.is_empty() || is_of_earlier_container(own, other, dir) {
        return Ok(ours);
    }
    if own.components().eq(other.components()) {
        return Ok(existing);
    }
    let msg = format!("the pod's annotation {MAPPED_DIR} is not where its sockets are: remove it");
    let shown: String = existing.chars().take(200).collect();
    let details = format!("it says {shown:?}, the sockets are in {ours:?}");
    Err(CniError::new(code::KUBERNETES, msg).with_details(details))
}

/// Whether two directories differ in the name of the container only.
fn is_of_earlier_container(ours: &Path, other: &Path, dir: &Path) -> bool {
    let (Some(id), Some(name)) = (dir.file_name(), other.file_name()) else { return false };
    let is_id = name.len() == id.len() && name.to_str().is_some_and(is_identifier);
    is_id && ours.file_name() == Some(id) && ours.parent() == other.parent()
}

fn mount(pod: &Value) -> Option<&Value> {
    let of_container = |container: &'_ Value| -> Option<usize> {
        container["volumeMounts"].as_array()?.iter().position(|mount| mount["name"] == VOLUME)
    };
    let containers = pod["spec"]["containers"].as_array()?;
    containers.iter().rev().find_map(|it| it["volumeMounts"].get(of_container(it)?))
}

fn host_path(pod: &Value) -> Option<&str> {
    let volumes = pod["spec"]["volumes"].as_array()?;
    volumes.iter().find(|volume| volume["name"] == VOLUME)?["hostPath"]["path"].as_str()
}

fn is_plain(place: &str) -> bool {
    place.starts_with('/') && place.len() <= DIRECTORY_MAX && !place.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DIR: &str = "/run/shared/0123456789ab";

    fn pod(volume: &Value, mounts: &[Value]) -> Value {
        let containers: Vec<Value> =
            mounts.iter().map(|mount| json!({"volumeMounts": [{"name": "x"}, mount]})).collect();
        let mut volume = volume.clone();
        volume["name"] = json!("shared-dir");
        json!({"spec": {"volumes": [{"name": "x"}, volume], "containers": containers}})
    }

    fn at(place: &str) -> Value {
        json!({"name": "shared-dir", "mountPath": place})
    }

    fn of(volume: &Value, mounts: &[Value]) -> String {
        directory(&pod(volume, mounts), Path::new(DIR))
    }

    #[test]
    fn directory_is_below_the_place_where_the_volume_is_mounted() {
        let base = json!({"hostPath": {"path": "/run/shared/"}});
        assert_eq!(of(&base, &[at("/a"), at("/b/")]), "/b/0123456789ab");
        assert_eq!(of(&json!({"hostPath": {"path": DIR}}), &[at("/a/")]), "/a/");
        let sub = json!({"name": "shared-dir", "mountPath": "/a", "subPath": "shared"});
        assert_eq!(of(&json!({"hostPath": {"path": "/run"}}), &[sub]), "/a/0123456789ab");
    }

    #[test]
    fn place_of_the_volume_is_told_when_it_is_not_above_and_the_default_without_one() {
        assert_eq!(of(&json!({"emptyDir": {}}), &[at("/a")]), "/a");
        assert_eq!(of(&json!({"hostPath": {"path": "/other"}}), &[at("/a")]), "/a");
        assert_eq!(of(&json!({"emptyDir": {}}), &[]), DEFAULT);
        assert_eq!(directory(&json!({}), Path::new(DIR)), DEFAULT);
    }

    #[test]
    fn mounts_that_are_no_plain_directory_become_the_default() {
        let base = json!({"hostPath": {"path": "/run/shared"}});
        let long = format!("/{}", "a".repeat(DIRECTORY_MAX));
        for place in ["", "a", "/a\nb", long.as_str()] {
            assert_eq!(of(&base, &[at(place)]), DEFAULT, "{place}");
        }
        assert_eq!(of(&base, &[json!({"name": "shared-dir", "mountPath": 7})]), DEFAULT);
        let sub = json!({"name": "shared-dir", "mountPath": "/a", "subPath": "/run/shared"});
        assert_eq!(of(&json!({"hostPath": {"path": "/x"}}), &[sub]), "/a");
    }

    #[test]
    fn annotation_that_says_the_same_stays_and_another_is_code_104() {
        let agreed = |ours, existing| agreed(ours, existing, Path::new(DIR));
        assert_eq!(agreed("/a", ""), Ok("/a"));
        assert_eq!(agreed("/a", "/a/"), Ok("/a/"));
        for other in ["/b", "/a/..", "../../etc", "/a/b", "\u{0}"] {
            assert_eq!(agreed("/a", other).unwrap_err().code, 104, "{other}");
        }
        let long = "x".repeat(100_000);
        assert!(agreed("/a", &long).unwrap_err().to_string().len() < 500);
    }

    #[test]
    fn annotation_of_an_earlier_container_is_replaced() {
        let agreed = |ours, existing| agreed(ours, existing, Path::new(DIR));
        assert_eq!(agreed("/a/0123456789ab", "/a/ba9876543210"), Ok("/a/0123456789ab"));
        for other in ["/b/ba9876543210", "/a/..", "/a", "/a/x", "/a/../a/ba9876543210"] {
            assert!(agreed("/a/0123456789ab", other).is_err(), "{other}");
        }
        assert!(agreed("/a/elsewhere-12", "/a/ba9876543210").is_err());
    }
}
