//! Addresses of PCI functions.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Address of a PCI function, as sysfs writes it: `0000:01:00.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// The domain; 16 bits, but for what some host bridges make up.
    pub domain: u32,
    /// The bus.
    pub bus: u8,
    /// The device on it, below 32.
    pub device: u8,
    /// The function of that, below 8.
    pub function: u8,
}

/// What is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{given:?} is no PCI address: one looks like 0000:01:00.1, with all its digits")]
pub struct BadPciAddress {
    /// What was given.
    pub given: String,
}

impl FromStr for PciAddress {
    type Err = BadPciAddress;

    fn from_str(text: &str) -> Result<Self, BadPciAddress> {
        parse(text).ok_or_else(|| BadPciAddress { given: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<PciAddress> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let domain = (4..=8).contains(&domain.len()).then(|| hex(domain))??;
    let [bus, device, function] =
        [(bus, 2, 256), (device, 2, 32), (function, 1, 8)].map(|(digits, count, below)| {
            let value = (digits.len() == count).then(|| hex(digits))??;
            u8::try_from(value).ok().filter(|_| value < below)
        });
    Some(PciAddress { domain, bus: bus?, device: device?, function: function? })
}

/// A number of hexadecimal digits alone: no sign.
fn hex(digits: &str) -> Option<u32> {
    let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, 16).ok())?
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["0000:01:00.1", "0000:ff:1f.7", "10000:e1:00.0", "ffffffff:00:00.0"] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), text);
        }
        let upper: PciAddress = "0000:AF:0A.0".parse().unwrap();
        assert_eq!(upper.to_string(), "0000:af:0a.0");
    }

    #[test]
    fn what_is_no_address_is_refused_and_named() {
        for text in [
            "",
            "01:00.1",
            "0000:01:00",
            "0000:01:20.0",
            "0000:01:00.8",
            "0000:01:00.1/..",
            "../../../..",
            "0000:+1:00.1",
            "0000:001:0.1",
            "000:01:00.1",
            "123456789:01:00.1",
            "0000:01:00.1 ",
        ] {
            let error = text.parse::<PciAddress>().unwrap_err();
            assert_eq!(error.given, text);
        }
    }
}
