//! What a TAP is to be like, also as text: `tap:ring0,mtu=9000,address=10.0.0.1/24`.
//!
//! After `tap:` comes the interface's name, 1 to 15 bytes; with `%d` in it, which the kernel replaces
//! by a number. Then `key=value` items, separated by commas.
//!
//! | key | value | default |
//! |---|---|---|
//! | `mtu` | longest packet without its Ethernet header, 68 to 65521 | the kernel's, 1500 |
//! | `mac` | address of the interface, such as `02:00:00:00:00:01` | a random one |
//! | `address` | IP address and prefix, such as `10.0.0.1/24` | none |
//! | `netns` | file of the network namespace that the interface is made in, such as `/run/netns/a` | ours |
//! | `offload` | what packets from the kernel may leave to be done: `none`, `checksum`, `segmentation` | `segmentation` |

use super::{TapAddress, TapError};
use crate::port_string::{Choices, ItemWriter, Items, Key, choice, mac, number};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What every port string of a TAP starts with.
pub const SCHEME: &str = "tap:";

/// Longest name of an interface, in bytes.
const NAME_MAX: usize = 15;
const MTU_MIN: u32 = 68;
/// 64 KB without an Ethernet header.
const MTU_MAX: u32 = 65_521;

const KEYS: [Key; 5] =
    [("mtu", None), ("mac", None), ("address", None), ("netns", None), ("offload", None)];

const OFFLOADS: Choices<TapOffload, 3> = (
    [
        ("none", TapOffload::None),
        ("checksum", TapOffload::Checksum),
        ("segmentation", TapOffload::Segmentation),
    ],
    "none, checksum or segmentation",
);

/// What a TAP is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapConfig {
    /// Name of the interface, 1 to 15 bytes. The kernel replaces `%d` by a number.
    pub name: String,
    /// Longest packet without its Ethernet header, in bytes; `None`: the kernel's choice.
    pub mtu: Option<u32>,
    /// Address of the interface; `None`: the kernel's choice.
    pub mac: Option<[u8; 6]>,
    /// An IP address to give to it. More can be given with `ip address add`.
    pub address: Option<TapAddress>,
    /// File of the network namespace to make it in; `None`: that of the calling thread.
    pub netns: Option<PathBuf>,
    /// What packets from the kernel may leave to be done.
    pub offload: TapOffload,
}

/// What packets from the kernel may leave to be done: what the port that they go to cannot pass on is
/// then done [in software](crate::software).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TapOffload {
    /// Nothing: the kernel computes and cuts. For whoever reads packets without looking at their
    /// metadata.
    None,
    /// Checksums.
    Checksum,
    /// Checksums and the cutting of TCP into segments.
    #[default]
    Segmentation,
}

impl TapConfig {
    /// A TAP of this name, with the defaults of the port string.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let (name, offload) = (name.into(), TapOffload::default());
        Self { name, mtu: None, mac: None, address: None, netns: None, offload }
    }

    /// Refuses what no kernel would take.
    ///
    /// # Errors
    /// [`TapError::Name`] and [`TapError::Item`].
    pub fn check(&self) -> Result<(), TapError> {
        let odd =
            |byte: u8| byte == b'/' || byte == b':' || byte == b',' || !byte.is_ascii_graphic();
        let name = self.name.as_str();
        if name.is_empty()
            || name.len() > NAME_MAX
            || name.bytes().any(odd)
            || [".", ".."].contains(&name)
        {
            return Err(TapError::Name { name: name.to_owned() });
        }
        if let Some(mtu) = self.mtu {
            crate::port_string::check_range("mtu", mtu.into(), MTU_MIN.into(), u64::from(MTU_MAX))?;
        }
        Ok(())
    }
}

impl FromStr for TapConfig {
    type Err = TapError;

    fn from_str(text: &str) -> Result<Self, TapError> {
        let rest = text.strip_prefix(SCHEME);
        let rest = rest.ok_or_else(|| TapError::NotTap { given: text.to_owned() })?;
        let (name, items) = rest.split_once(',').unwrap_or((rest, ""));
        let items = Items::parse(items, &KEYS)?;
        let mut config = Self::new(name);
        items.set(&mut config.mtu, "mtu", |key, value| {
            number(key, value, MTU_MIN, MTU_MAX).map(Some)
        })?;
        items.set(&mut config.mac, "mac", |key, value| mac(key, value).map(Some))?;
        items.set(&mut config.address, "address", |_, value| value.parse().map(Some))?;
        config.netns = items.text("netns").map(PathBuf::from);
        items.set(&mut config.offload, "offload", |key, value| choice(key, value, &OFFLOADS))?;
        config.check()?;
        Ok(config)
    }
}

impl fmt::Display for TapConfig {
    /// Gives the port string, without items at their default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.name)?;
        if let Some(mtu) = self.mtu {
            write!(f, ",mtu={mtu}")?;
        }
        if let Some([a, b, c, d, e, g]) = self.mac {
            write!(f, ",mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")?;
        }
        if let Some(address) = self.address {
            write!(f, ",address={address}")?;
        }
        if let Some(netns) = &self.netns {
            write!(f, ",netns={}", netns.display())?;
        }
        ItemWriter(f).word("offload", &self.offload, &TapOffload::default(), &OFFLOADS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_strings_are_read_and_written_alike() {
        for text in [
            "tap:t",
            "tap:ring%d,mtu=9000",
            "tap:a-name.of_15byt,mac=02:00:00:00:00:01,address=10.0.0.1/24",
            "tap:t,mtu=68,address=fd00::1/128,netns=/run/netns/a,offload=none",
            "tap:t,mtu=65521,offload=checksum",
        ] {
            assert_eq!(text.parse::<TapConfig>().unwrap().to_string(), text);
        }
        let whole: TapConfig = "tap:t,offload=segmentation".parse().unwrap();
        assert_eq!(whole, TapConfig::new("t"));
    }

    #[test]
    fn names_and_values_that_no_kernel_takes_are_refused() {
        for bad in [
            "memif:t",
            "tap:",
            "tap:.",
            "tap:..",
            "tap:a/b",
            "tap:a b",
            "tap:a:b",
            "tap:sixteen-bytes-xx",
            "tap:t\u{e4}",
            "tap:t,mtu=67",
            "tap:t,mtu=65522",
            "tap:t,mac=03:00:00:00:00:01",
            "tap:t,mac=00:00:00:00:00:00",
            "tap:t,mac=02:00:00:00:00",
            "tap:t,mac=02:00:00:00:00:+1",
            "tap:t,address=10.0.0.1",
            "tap:t,address=10.0.0.1/33",
            "tap:t,address=fd00::1/129",
            "tap:t,offload=all",
            "tap:t,queues=2",
        ] {
            assert!(bad.parse::<TapConfig>().is_err(), "{bad}");
        }
    }
}
