//! The messages that we know.
//!
//! A layout has a CRC, and VPP's generator computes it from the definition. That of 20.05 to 21.01
//! pinned older CRCs for layouts that had not changed, and 21.06 stopped doing so: hence two for
//! some. From 20.05 to 26.06 each of these messages has one layout.

use super::VppError;
use super::wire::Reader;
use std::collections::HashMap;

/// A message of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub name: &'static str,
    /// CRCs of the layouts that we know.
    pub crcs: &'static [u32],
}

/// A question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The question.
    pub request: Message,
    /// The answer, or each of the answers.
    pub reply: Message,
}

const fn exchange(
    request: &'static str,
    request_crcs: &'static [u32],
    reply: &'static str,
    reply_crcs: &'static [u32],
) -> Exchange {
    Exchange {
        request: Message { name: request, crcs: request_crcs },
        reply: Message { name: reply, crcs: reply_crcs },
    }
}

/// CRC of all replies that hold nothing but the number of a refusal.
const PLAIN: &[u32] = &[0xe8d4_e804];
/// CRC of all requests without fields.
const EMPTY: &[u32] = &[0x5107_7d14];
/// CRC of all requests whose only field is an interface.
const OF_INTERFACE: &[u32] = &[0xf9e6_675e];
/// CRC of all replies that hold the interface that was made.
const MADE_INTERFACE: &[u32] = &[0x5383_d31f];

macro_rules! exchanges {
    ($($(#[$doc:meta])* $name:ident = $request:literal $crcs:expr, $reply:literal $replies:expr;)*) => {
        $($(#[$doc])* pub const $name: Exchange = exchange($request, $crcs, $reply, $replies);)*

        /// All of them.
        pub const ALL: &[Exchange] = &[$($name),*];
    };
}

exchanges! {
    /// Ends a connection.
    SOCKCLNT_DELETE = "sockclnt_delete" &[0x8ac7_6db6], "sockclnt_delete_reply" &[0x8f38_b1ee];
    /// Says that what was asked before has been answered.
    CONTROL_PING = "control_ping" EMPTY, "control_ping_reply" &[0xf6b0_b8ca];
    /// Which release.
    SHOW_VERSION = "show_version" EMPTY, "show_version_reply" &[0xc919_bde1];
    /// Names a socket of memif, or forgets it.
    MEMIF_SOCKET = "memif_socket_filename_add_del" &[0xa2ce_1a10],
        "memif_socket_filename_add_del_reply" PLAIN;
    /// The same since 23.06, for names of any length.
    MEMIF_SOCKET_V2 = "memif_socket_filename_add_del_v2" &[0x3422_3bdf],
        "memif_socket_filename_add_del_v2_reply" &[0x9f29_bdb9];
    /// Lists the sockets of memif.
    MEMIF_SOCKET_DUMP = "memif_socket_filename_dump" EMPTY,
        "memif_socket_filename_details" &[0x7ff3_26f7];
    /// Makes a memif.
    MEMIF_CREATE = "memif_create" &[0xb1b2_5061], "memif_create_reply" MADE_INTERFACE;
    /// The same since 23.06.
    MEMIF_CREATE_V2 = "memif_create_v2" &[0x8c7d_e5f7], "memif_create_v2_reply" MADE_INTERFACE;
    /// Removes a memif.
    MEMIF_DELETE = "memif_delete" OF_INTERFACE, "memif_delete_reply" PLAIN;
    /// Lists the memifs.
    MEMIF_DUMP = "memif_dump" EMPTY, "memif_details" &[0xda34_feb9, 0xd038_2c4c];
    /// Makes a vhost-user interface.
    VHOST_CREATE = "create_vhost_user_if" &[0xc785_c6fc], "create_vhost_user_if_reply"
        MADE_INTERFACE;
    /// The same since 21.06.
    VHOST_CREATE_V2 = "create_vhost_user_if_v2" &[0xdba1_cc1d], "create_vhost_user_if_v2_reply"
        MADE_INTERFACE;
    /// Removes a vhost-user interface.
    VHOST_DELETE = "delete_vhost_user_if" OF_INTERFACE, "delete_vhost_user_if_reply" PLAIN;
    /// Lists the vhost-user interfaces.
    VHOST_DUMP = "sw_interface_vhost_user_dump" OF_INTERFACE,
        "sw_interface_vhost_user_details" &[0x0cee_1e53, 0x9853_0df1];
    /// Makes or removes a bridge domain.
    BRIDGE = "bridge_domain_add_del" &[0x600b_7170], "bridge_domain_add_del_reply" PLAIN;
    /// Lists the bridge domains.
    BRIDGE_DUMP = "bridge_domain_dump" &[0x7439_6a43],
        "bridge_domain_details" &[0x0fa5_06fd, 0x979f_549d];
    /// Puts an interface on a bridge domain, or takes it away.
    SET_BRIDGE = "sw_interface_set_l2_bridge" &[0xd067_8b13, 0x2e48_3cd0],
        "sw_interface_set_l2_bridge_reply" PLAIN;
    /// Makes a sub-interface.
    SUB_CREATE = "create_subif" &[0x790c_a755, 0xcb37_1063], "create_subif_reply" MADE_INTERFACE;
    /// Removes a sub-interface.
    SUB_DELETE = "delete_subif" OF_INTERFACE, "delete_subif_reply" PLAIN;
    /// Has tags changed on the way through an interface.
    TAG_REWRITE = "l2_interface_vlan_tag_rewrite" &[0x62cc_0bbc],
        "l2_interface_vlan_tag_rewrite_reply" PLAIN;
    /// Lists the queues that VPP receives from.
    RX_DUMP = "sw_interface_rx_placement_dump" OF_INTERFACE,
        "sw_interface_rx_placement_details" &[0x9e44_a7ce, 0xf6d7_d024];
    /// Sets how VPP receives from a queue.
    SET_RX_MODE = "sw_interface_set_rx_mode" &[0xb04d_1cfe, 0x780f_5cee],
        "sw_interface_set_rx_mode_reply" PLAIN;
    /// Sets which worker receives from a queue.
    SET_RX_PLACEMENT = "sw_interface_set_rx_placement" &[0xdb65_f3c9],
        "sw_interface_set_rx_placement_reply" PLAIN;
    /// Lists the interfaces.
    INTERFACE_DUMP = "sw_interface_dump" &[0xaa61_0c27],
        "sw_interface_details" &[0x6c22_1fc7, 0x17b6_9fa2];
    /// Marks an interface.
    SET_TAG = "sw_interface_tag_add_del" &[0x426f_8bc1], "sw_interface_tag_add_del_reply" PLAIN;
    /// Sets the largest packet.
    SET_MTU = "sw_interface_set_mtu" &[0x5cbe_85e5], "sw_interface_set_mtu_reply" PLAIN;
    /// Sets the MAC address.
    SET_MAC = "sw_interface_set_mac_address" &[0xc536_e7eb, 0x6aca_746a],
        "sw_interface_set_mac_address_reply" PLAIN;
    /// Switches an interface on or off.
    SET_FLAGS = "sw_interface_set_flags" &[0xf5ae_c1b8, 0x6a2b_491a],
        "sw_interface_set_flags_reply" PLAIN;
    /// Gives an interface an address, or takes it away.
    SET_ADDRESS = "sw_interface_add_del_address" &[0x5463_d73b, 0x5803_d5c4],
        "sw_interface_add_del_address_reply" PLAIN;
    /// Makes a loopback interface.
    LOOPBACK_CREATE = "create_loopback" &[0x42bb_5d22], "create_loopback_reply" MADE_INTERFACE;
    /// Removes a loopback interface.
    LOOPBACK_DELETE = "delete_loopback" OF_INTERFACE, "delete_loopback_reply" PLAIN;
    /// Has an interface use the addresses of another one.
    UNNUMBERED = "sw_interface_set_unnumbered" &[0x154a_6439, 0x938e_f33b],
        "sw_interface_set_unnumbered_reply" PLAIN;
    /// Lists the interfaces that use the addresses of others.
    UNNUMBERED_DUMP = "ip_unnumbered_dump" OF_INTERFACE,
        "ip_unnumbered_details" &[0xcc59_bd42, 0xaa12_a483];
    /// Has an interface take IPv6.
    IP6_ENABLE = "sw_interface_ip6_enable_disable" &[0xae6c_fcfb],
        "sw_interface_ip6_enable_disable_reply" PLAIN;
    /// Makes or removes a route.
    ROUTE = "ip_route_add_del" &[0xb8ec_fe0d, 0xc1ff_832d], "ip_route_add_del_reply" &[0x1992_deab];
    /// Finds a route.
    ROUTE_LOOKUP = "ip_route_lookup" &[0x710d_6471, 0xe298_6185],
        "ip_route_lookup_reply" &[0x5d8f_ebcb, 0xae99_de8e];
    /// Has ARP answered for hosts.
    ARP_PROXY = "proxy_arp_add_del" &[0x1823_c3e7, 0x8548_6cbd], "proxy_arp_add_del_reply" PLAIN;
    /// Has it answered on an interface.
    ARP_ON_INTERFACE = "proxy_arp_intfc_enable_disable" &[0xae6c_fcfb],
        "proxy_arp_intfc_enable_disable_reply" PLAIN;
    /// Lists the addresses of an interface.
    ADDRESS_DUMP = "ip_address_dump" &[0x2d03_3de4], "ip_address_details" &[0xee29_b797, 0xb119_9745];
}

/// Number of the first message of a connection, which cannot be looked up.
pub const SOCKCLNT_CREATE: u16 = 15;
/// Number of its answer.
pub const SOCKCLNT_CREATE_REPLY: u16 = 16;

/// Bytes of a name with its CRC in VPP's table.
const NAME_LEN: usize = 64;

/// Where a VPP has the messages that we know.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Number and CRC by name.
    entries: HashMap<String, (u16, u32)>,
    version: String,
}

impl Table {
    /// Reads the table: a count, then a number and a name with its CRC for each message.
    ///
    /// # Errors
    /// [`VppError::Malformed`] when it ends early.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, VppError> {
        let mut entries = HashMap::new();
        for _ in 0..reader.u16()? {
            let number = reader.u16()?;
            let full = reader.text(NAME_LEN)?;
            if let Some((name, crc)) = split(&full) {
                entries.insert(name.to_owned(), (number, crc));
            }
        }
        Ok(Self { entries, version: "(unknown)".to_owned() })
    }

    /// Sets the release that errors name.
    pub fn set_version(&mut self, version: &str) {
        version.clone_into(&mut self.version);
    }

    /// The number of a message.
    ///
    /// # Errors
    /// [`VppError::Missing`], [`VppError::UnknownCrc`]
    pub fn number(&self, message: Message) -> Result<u16, VppError> {
        let Message { name, crcs } = message;
        match self.entries.get(name) {
            Some((number, crc)) if crcs.contains(crc) => Ok(*number),
            Some((_, found)) => Err(VppError::UnknownCrc {
                message: name,
                wanted: crcs,
                found: *found,
                version: self.version.clone(),
            }),
            None => Err(VppError::Missing { message: name, version: self.version.clone() }),
        }
    }

    /// Whether VPP has a message of this name, in whatever layout.
    #[must_use]
    pub fn has(&self, message: Message) -> bool {
        self.entries.contains_key(message.name)
    }
}

fn split(full: &str) -> Option<(&str, u32)> {
    let (name, crc) = full.rsplit_once('_')?;
    Some((name, u32::from_str_radix(crc, 16).ok().filter(|_| crc.len() == 8)?))
}

#[cfg(test)]
mod tests {
    use super::super::wire::Fields;
    use super::*;

    fn table(names: &[&str]) -> Table {
        let mut fields = Fields::new().u16(u16::try_from(names.len()).unwrap());
        for (number, name) in (100..).zip(names) {
            fields = fields.u16(number).text(name.as_bytes(), NAME_LEN);
        }
        let mut table = Table::read(&mut Reader::new("t", fields.as_bytes())).unwrap();
        table.set_version("26.06");
        table
    }

    #[test]
    fn number_is_found_by_name_under_each_known_crc() {
        for crc in ["da34feb9", "d0382c4c"] {
            let table = table(&["control_ping_51077d14", &format!("memif_details_{crc}")]);
            assert_eq!(table.number(MEMIF_DUMP.reply).unwrap(), 101);
        }
    }

    #[test]
    fn unknown_crc_names_message_wanted_found_and_release() {
        let table = table(&["memif_details_00c0ffee"]);
        let error = table.number(MEMIF_DUMP.reply).unwrap_err().to_string();
        for part in ["memif_details", "00c0ffee", "da34feb9, d0382c4c", "26.06"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn absent_message_is_not_taken_for_a_changed_one() {
        let table = table(&["memif_create_v3_8c7de5f7", "memif", "memif_create_v2_8c7de5f"]);
        let error = table.number(MEMIF_CREATE_V2.request).unwrap_err();
        assert!(matches!(error, VppError::Missing { message: "memif_create_v2", .. }), "{error}");
        assert!(!table.has(MEMIF_CREATE_V2.request));
    }

    #[test]
    fn table_that_ends_early_is_an_error() {
        let fields = Fields::new().u16(2).u16(1).text(b"control_ping_51077d14", NAME_LEN);
        assert!(Table::read(&mut Reader::new("t", fields.as_bytes())).is_err());
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> =
            ALL.iter().flat_map(|it| [it.request.name, it.reply.name]).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
