//! How an interface of VPP says whose it is: by its tag, of at most 63 bytes.
//!
//! `ringport:<network>:<attachment>:<first 12 characters of the container's ID>-<name>`, where
//! network and attachment are 12 hexadecimal digits each that stand for names too long to be there.
//! The last part is for people.

use crate::env::short_id;
use crate::state::Owner;

const START: &str = "ringport";

/// The tag of an attachment's interface.
#[must_use]
pub fn tag_of(owner: &Owner) -> String {
    let Owner { network, container_id, if_name } = owner;
    let attachment = digest(&[network, container_id, if_name]);
    format!("{}{attachment}:{}-{if_name}", start_of(network), short_id(container_id))
}

/// What the tags of all interfaces of a network start with.
#[must_use]
pub fn start_of(network: &str) -> String {
    format!("{START}:{}:", digest(&[network]))
}

/// The tag of the loopback interface that has the gateways of a network.
#[must_use]
pub fn gateway_tag(network: &str) -> String {
    format!("{}gateways", start_of(network))
}

/// Whether a tag is that of such an interface.
#[must_use]
pub fn is_gateway_tag(tag: &str) -> bool {
    tag.starts_with(START) && tag.ends_with(":gateways")
}

/// The MAC address of that interface, by which it is known: a local one.
#[must_use]
pub fn gateway_mac(network: &str) -> [u8; 6] {
    let [.., a, b, c, d, e] = hash(&[network]).to_be_bytes();
    [2, a, b, c, d, e]
}

fn digest(parts: &[&str]) -> String {
    format!("{:012x}", hash(parts))
}

/// 48 bits of FNV-1a: the same in every release. Names come from the runtime, not from containers.
fn hash(parts: &[&str]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    (hash ^ (hash >> 48)) & 0xffff_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that fit into VPP's field with the zero byte that ends them.
    const MAX: usize = 63;

    #[test]
    fn longest_tag_fits() {
        let owner = Owner::new(&"n".repeat(200), &"c".repeat(200), "fifteen-bytes-x");
        assert_eq!(tag_of(&owner).len(), MAX);
    }

    #[test]
    fn every_part_of_the_owner_makes_another_tag() {
        let id = "0123456789abcdef";
        let owner = Owner::new("n", id, "net1");
        let others = [
            Owner::new("m", id, "net1"),
            Owner::new("n", "0123456789abcdee", "net1"),
            Owner::new("n", id, "net2"),
            Owner::new("n", "0123456789abcdefn", "et1"),
        ];
        for other in others {
            assert_ne!(tag_of(&owner), tag_of(&other), "{other:?}");
        }
    }

    /// Tags outlive the plugin that wrote them: this must never change.
    #[test]
    fn tag_is_the_same_in_every_release() {
        let tag = tag_of(&Owner::new("net", "0123456789abcdef", "net1"));
        assert_eq!(tag, "ringport:18baa0317bf7:13ee52fa535a:0123456789ab-net1");
        assert!(tag.starts_with(&start_of("net")));
        assert_eq!(gateway_tag("net"), "ringport:18baa0317bf7:gateways");
        assert_eq!(gateway_mac("net"), [2, 0xba, 0xa0, 0x31, 0x7b, 0xf7]);
    }
}
