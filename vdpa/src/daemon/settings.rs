//! The daemon's configuration file, in TOML.
//!
//! ```
//! let settings = ringport_vdpa::daemon::settings::parse(r#"
//!     socket-dir = "/run/vdpa/vhost"            # where vdpa-0, vdpa-1 and so on are
//!     socket-list = "/run/vdpa/socketList.dat"  # written: each device with its socket
//!     lookup = "/run/vdpa/vdpa.sock"            # the look-up over gRPC
//!     control = "/run/vdpa/control.sock"        # commands
//!     metrics = "127.0.0.1:9821"                # for Prometheus, at /metrics
//!     pci-list = "/run/vdpa/pciList.dat"        # devices, by PCI addresses, one a line
//!     discover = true                           # all that are there as well
//!     keep-listed = false                       # devices that are not there are listed as well
//!     mode = "660"                              # of vhost-user sockets, octal, with owner and group
//!     group = "kvm"
//!
//!     [[device]]
//!     device = "0000:82:00.2"                   # or a node, /dev/vhost-vdpa-0
//!     socket = "/run/vm1/vhost.sock"            # not by number
//!     side = "client"                           # the front-end makes the socket
//! "#).unwrap();
//! assert_eq!(settings.devices.len(), 1);
//! ```
//!
//! All keys may be absent, and there are no others.

use super::config::Wanted;
use crate::files::{ContentError, DEVICES_MAX, FileError, Place, read};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Where sockets are.
    pub socket_dir: Option<PathBuf>,
    /// Where the list of devices with their sockets is written.
    pub socket_list: Option<PathBuf>,
    /// Where the look-up listens.
    pub lookup: Option<PathBuf>,
    /// Where commands are taken.
    pub control: Option<PathBuf>,
    /// Where metrics are, an address and a port.
    pub metrics: Option<SocketAddr>,
    /// The list of PCI addresses.
    pub pci_list: Option<PathBuf>,
    /// Whether all devices with a node are served, and all virtual functions of virtio network devices under
    /// vfio-pci: also those that others use at times.
    pub discover: Option<bool>,
    /// Whether devices are listed that are not there.
    pub keep_listed: Option<bool>,
    /// Permissions of vhost-user sockets, octal.
    pub mode: Option<String>,
    /// User that owns them, by name or number.
    pub owner: Option<String>,
    /// Group that owns them, by name or number.
    pub group: Option<String>,
    /// Devices, with what is particular about them.
    #[serde(default, rename = "device")]
    pub devices: Vec<Wanted>,
}

/// Reads the file.
///
/// # Errors
/// [`FileError`]; what makes no sense is named with its line.
pub fn load(path: &Path) -> Result<Settings, FileError> {
    let content = |content| FileError::Content { path: path.to_owned(), content };
    let bytes = read(path)?;
    let text = str::from_utf8(&bytes).map_err(|error| {
        let line = line_of(&bytes, error.valid_up_to());
        content(ContentError { place: Some(line), reason: "is not UTF-8 text".to_owned() })
    })?;
    parse(text).map_err(content)
}

/// Takes it apart.
///
/// # Errors
/// It is no TOML, a key is not as it has to be or is unknown, a device comes twice, or there are more than
/// [`DEVICES_MAX`].
pub fn parse(text: &str) -> Result<Settings, ContentError> {
    let settings: Settings = toml::from_str(text).map_err(|error| ContentError {
        place: error.span().map(|span| line_of(text.as_bytes(), span.start)),
        reason: error.message().lines().collect::<Vec<_>>().join(", "),
    })?;
    let of_all = |reason| ContentError { place: None, reason };
    if settings.devices.len() > DEVICES_MAX {
        return Err(of_all(format!("more than {DEVICES_MAX} devices")));
    }
    let mut seen = BTreeSet::new();
    for wanted in &settings.devices {
        if !seen.insert(&wanted.device) {
            return Err(of_all(format!("device {} comes twice", wanted.device)));
        }
    }
    Ok(settings)
}

fn line_of(text: &[u8], at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    Place::Line(1 + before.iter().filter(|&&byte| byte == b'\n').count())
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::*;

    #[test]
    fn devices_have_defaults() {
        let text = "discover = true\n[[device]]\ndevice = \"82:00.2\"\n";
        let settings = parse(text).unwrap();
        assert_eq!(settings.discover, Some(true));
        assert_eq!(settings.devices, [Wanted::new("0000:82:00.2".parse().unwrap())]);
        let text = "[[device]]\ndevice = \"/dev/vhost-vdpa-0\"\nside = \"client\"\n";
        assert_eq!(parse(text).unwrap().devices[0].side, Side::Client);
        assert_eq!(parse("").unwrap(), Settings::default());
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        for (text, line, why) in [
            ("lookup = \"/a\"\nlokup = \"/b\"\n", 2, "unknown field `lokup`"),
            ("discover = 1\n", 1, "expected a boolean"),
            ("\n\n[[device]]\ndevice = \"vdpa0\"\n", 4, "is no PCI address"),
            ("[[device]]\ndevice = \"82:00.2\"\nside = \"both\"\n", 3, "unknown variant `both`"),
            ("a = \n", 1, ""),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.place, Some(Place::Line(line)), "{error}");
            assert!(error.reason.contains(why), "{error}");
        }
    }

    #[test]
    fn device_that_comes_twice_is_named() {
        let text = "[[device]]\ndevice=\"82:00.2\"\n".repeat(2);
        let error = parse(&text).unwrap_err().to_string();
        assert_eq!(error, "device 0000:82:00.2 comes twice");
    }

    #[test]
    fn file_that_is_no_text_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vdpad.toml");
        std::fs::write(&path, b"discover = true\n\xff\n").unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: line 2: is not UTF-8 text", path.display()));
    }
}
