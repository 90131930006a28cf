//! Routed containers: several interfaces with the addresses of one, a route to each container, and
//! answers for the others in its subnet.

use super::message::{
    ARP_ON_INTERFACE, ARP_PROXY, IP6_ENABLE, LOOPBACK_CREATE, LOOPBACK_DELETE, ROUTE, ROUTE_LOOKUP,
    UNNUMBERED, UNNUMBERED_DUMP,
};
use super::retval::{INVALID_SW_IF_INDEX, NO_SUCH_ENTRY, VALUE_EXISTS};
use super::wire::{Fields, Reader};
use super::{Session, VppError, accept};
use std::net::{IpAddr, Ipv4Addr};

/// Every interface; no interface.
const ALL: u32 = u32::MAX;
/// Bytes of the labels of a path: 16 of them, which nobody uses.
const LABELS_LEN: usize = 16 * 7;

/// An interface that has the addresses of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Borrower {
    /// Its number.
    pub sw_if_index: u32,
    /// Number of the interface whose addresses it has.
    pub from: u32,
}

impl Session {
    /// Makes a loopback interface; returns its number.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn add_loopback(&mut self, mac: [u8; 6]) -> Result<u32, VppError> {
        self.call(LOOPBACK_CREATE, &Fields::new().bytes(&mac))?.reader().u32()
    }

    /// Removes a loopback interface. One that is absent is removed already.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn delete_loopback(&mut self, sw_if_index: u32) -> Result<(), VppError> {
        let deleted = self.call(LOOPBACK_DELETE, &Fields::new().u32(sw_if_index));
        accept(deleted, &[INVALID_SW_IF_INDEX]).map(|_| ())
    }

    /// Has an interface use the addresses of another one, or no more.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn borrow_addresses(&mut self, of: Borrower, on: bool) -> Result<(), VppError> {
        let fields = Fields::new().u32(of.from).u32(of.sw_if_index).bool(on);
        self.call(UNNUMBERED, &fields).map(|_| ())
    }

    /// All interfaces that use the addresses of others.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn borrowers(&mut self) -> Result<Vec<Borrower>, VppError> {
        let answers = self.dump(UNNUMBERED_DUMP, &Fields::new().u32(ALL))?;
        let read = answers.iter().map(|answer| {
            let mut fields = answer.reader();
            Ok(Borrower { sw_if_index: fields.u32()?, from: fields.u32()? })
        });
        read.collect()
    }

    /// Has an interface take IPv6, which borrowed addresses alone do not bring about.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn enable_ip6(&mut self, sw_if_index: u32) -> Result<(), VppError> {
        let enabled = self.call(IP6_ENABLE, &Fields::new().u32(sw_if_index).bool(true));
        accept(enabled, &[VALUE_EXISTS]).map(|_| ())
    }

    /// Makes the route to a host by an interface that it is on, over another one to it.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn add_host_route(&mut self, host: IpAddr, sw_if_index: u32) -> Result<(), VppError> {
        self.set_host_route(host, sw_if_index, true)
    }

    /// Removes the route to a host. One that is absent is removed already.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn remove_host_route(&mut self, host: IpAddr, sw_if_index: u32) -> Result<(), VppError> {
        let removed = self.set_host_route(host, sw_if_index, false);
        accept(removed, &[NO_SUCH_ENTRY]).map(|_| ())
    }

    fn set_host_route(&mut self, host: IpAddr, index: u32, on: bool) -> Result<(), VppError> {
        // The one path of the route, of the main table.
        let fields = Fields::new().bool(on).bool(false).zeros(8).bytes(&host_prefix(host)).u8(1);
        // By the interface, of weight 1, preferred, an ordinary one of the host's family.
        let path = fields.u32(index).zeros(8).u8(1).u8(0).zeros(8).u32(u32::from(host.is_ipv6()));
        let fields = path.bytes(&address_bytes(host)).zeros(12).u8(0).zeros(LABELS_LEN);
        self.call(ROUTE, &fields).map(|_| ())
    }

    /// The interface by which the route to a host goes, if there is one to it alone.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn host_route(&mut self, host: IpAddr) -> Result<Option<u32>, VppError> {
        // In the main table, and this prefix.
        let fields = Fields::new().u32(0).u8(1).bytes(&host_prefix(host));
        let found = accept(self.call(ROUTE_LOOKUP, &fields), &[NO_SUCH_ENTRY])?;
        found.map(|answer| first_path(&mut answer.reader())).transpose().map(Option::flatten)
    }

    /// Has interfaces with [`Session::answer_arp`] answer for a host, or no more.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn set_arp_proxy(&mut self, host: Ipv4Addr, on: bool) -> Result<(), VppError> {
        // In the main table, from this host to this one.
        let fields = Fields::new().bool(on).u32(0).bytes(&host.octets()).bytes(&host.octets());
        accept(self.call(ARP_PROXY, &fields), &[NO_SUCH_ENTRY]).map(|_| ())
    }

    /// Has an interface answer for hosts that are elsewhere, or no more.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn answer_arp(&mut self, sw_if_index: u32, on: bool) -> Result<(), VppError> {
        let answered = self.call(ARP_ON_INTERFACE, &Fields::new().u32(sw_if_index).bool(on));
        answered.map(|_| ())
    }
}

/// The interface of the first path of a route.
fn first_path(route: &mut Reader<'_>) -> Result<Option<u32>, VppError> {
    // Table, counters and prefix.
    route.skip(26)?;
    let count = route.u8()?;
    if count == 0 { Ok(None) } else { route.u32().map(Some) }
}

/// Family, address and length of the prefix that is one host.
fn host_prefix(host: IpAddr) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[0] = u8::from(host.is_ipv6());
    bytes[1..17].copy_from_slice(&address_bytes(host));
    bytes[17] = if host.is_ipv6() { 128 } else { 32 };
    bytes
}

/// An address of either family in its 16 bytes.
#[must_use]
pub fn address_bytes(host: IpAddr) -> [u8; 16] {
    match host {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}
