//! PCI addresses.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Where a function is on the PCI buses: `dddd:bb:dd.f`, all of it hexadecimal.
///
/// As text without a domain, `bb:dd.f`, it is in domain 0. Shown with the domain always, in lower case, as
/// sysfs has it. Domains above `ffff` have more digits: Linux gives such to what is behind an Intel VMD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// What is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no PCI address, such as 0000:82:00.2: {why}")]
pub struct PciAddressError {
    /// The beginning of it.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Most characters of a text that an error repeats.
const SHOWN_MAX: usize = 40;

impl PciAddress {
    /// An address by its parts. `None`: `device` is above 31, or `function` above 7.
    #[must_use]
    pub const fn new(domain: u32, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self { domain, bus, device, function })
    }

    /// The domain; others call it segment.
    #[must_use]
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// The bus.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device, up to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function, up to 7.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.function
    }
}

impl FromStr for PciAddress {
    type Err = PciAddressError;

    fn from_str(text: &str) -> Result<Self, PciAddressError> {
        parse(text)
            .map_err(|why| PciAddressError { text: text.chars().take(SHOWN_MAX).collect(), why })
    }
}

fn parse(text: &str) -> Result<PciAddress, &'static str> {
    let (rest, function) = text.rsplit_once('.').ok_or("it has no dot before a function")?;
    let (rest, device) = rest.rsplit_once(':').ok_or("it has no colon before a device")?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
    let domain = hex(domain, 4..=8).ok_or("its domain is not of 4 to 8 hexadecimal digits")?;
    let bus = byte(bus, 2).ok_or("its bus is not of 2 hexadecimal digits")?;
    let device = byte(device, 2).ok_or("its device is not of 2 hexadecimal digits")?;
    let function = byte(function, 1).ok_or("its function is not one hexadecimal digit")?;
    PciAddress::new(domain, bus, device, function)
        .ok_or("devices go up to 1f, and functions up to 7")
}

fn byte(digits: &str, len: usize) -> Option<u8> {
    hex(digits, len..=len).and_then(|value| value.try_into().ok())
}

fn hex(digits: &str, len: std::ops::RangeInclusive<usize>) -> Option<u32> {
    // Signs are taken by from_str_radix.
    let fits = len.contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_hexdigit());
    fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        // In one piece, so that a width applies.
        f.pad(&format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
    }
}

impl Serialize for PciAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PciAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_an_address_are_shown_as_one() {
        let address = PciAddress::new(0, 0x82, 0x1f, 7).unwrap();
        for text in ["0000:82:1f.7", "82:1f.7", "0000:82:1F.7", "00000000:82:1f.7"] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
        assert_eq!(address.to_string(), "0000:82:1f.7");
        assert_eq!(format!("{address:<14}|"), "0000:82:1f.7  |");
        let parts = (address.domain(), address.bus(), address.device(), address.function());
        assert_eq!(parts, (0, 0x82, 0x1f, 7));
    }

    #[test]
    fn long_domain_keeps_its_digits() {
        let address: PciAddress = "10000:e1:00.0".parse().unwrap();
        assert_eq!(address.domain(), 0x1_0000);
        assert_eq!(address.to_string(), "10000:e1:00.0");
    }

    #[test]
    fn order_is_that_of_the_buses() {
        let parse = |text: &str| text.parse::<PciAddress>().unwrap();
        assert!(parse("0000:82:00.7") < parse("0000:82:01.0"));
        assert!(parse("0000:ff:1f.7") < parse("0001:00:00.0"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_part() {
        let cases = [
            ("", "dot"),
            ("0000:82:00", "dot"),
            ("82.0", "colon"),
            ("000:82:00.0", "domain"),
            ("000000000:82:00.0", "domain"),
            ("1:0000:82:00.0", "domain"),
            (":82:00.0", "domain"),
            ("+000:82:00.0", "domain"),
            ("0000:8:00.0", "bus"),
            ("0000:g2:00.0", "bus"),
            ("0000:82:0.0", "device"),
            ("0000:82:+0.0", "device"),
            ("0000:82:00.", "function"),
            ("0000:82:00.10", "function"),
            ("0000:82:00.0 ", "function"),
            ("0000:82:00.8", "up to 7"),
            ("0000:82:20.0", "up to 1f"),
            ("0000:82:\u{664}0.0", "device"),
        ];
        for (text, why) in cases {
            let error = text.parse::<PciAddress>().unwrap_err();
            assert!(error.why.contains(why), "{text:?}: {error}");
            assert_eq!(error.text, text);
        }
    }

    #[test]
    fn long_text_is_shown_in_part() {
        let error = "\n".repeat(10_000).parse::<PciAddress>().unwrap_err();
        assert_eq!(error.text.len(), SHOWN_MAX);
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
