//! The devices of a look-up that was given none.

use crate::files::Entry;
use crate::pci::PciAddress;

/// Where the first deployment had its sockets.
const SOCKETS: &str = "/var/run/vdpa/vhost/vdpa-";

/// What the first deployment's server answers when it is given no list: sixteen VFs from 0000:82:00.2 on.
#[must_use]
pub fn example() -> Vec<Entry> {
    let places = (0..3).flat_map(|device| (0..8).map(move |function| (device, function)));
    let addresses =
        places.filter_map(|(device, function)| PciAddress::new(0, 0x82, device, function));
    let entry = |(n, address)| Entry::new(address, format!("{SOCKETS}{n}")).ok();
    addresses.skip(2).take(16).enumerate().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_is_that_of_the_first_deployment() {
        let example = example();
        let row = |n: usize| (example[n].pci_address().to_string(), example[n].socket_path());
        assert_eq!(example.len(), 16);
        assert_eq!(row(0), ("0000:82:00.2".into(), "/var/run/vdpa/vhost/vdpa-0"));
        assert_eq!(row(3), ("0000:82:00.5".into(), "/var/run/vdpa/vhost/vdpa-3"));
        assert_eq!(row(6), ("0000:82:01.0".into(), "/var/run/vdpa/vhost/vdpa-6"));
        assert_eq!(row(15), ("0000:82:02.1".into(), "/var/run/vdpa/vhost/vdpa-15"));
    }
}
