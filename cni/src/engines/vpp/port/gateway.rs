//! Interfaces of one subnet: VPP takes a prefix on one interface only, so the gateways of a network are
//! on a loopback interface of its own, whose addresses the containers' interfaces use, and each
//! container has a route to it alone. Where there is Ethernet, VPP answers ARP for the others of the
//! subnet. It answers no neighbour solicitations for them: it would do so on the container's own interface
//! as well, where that is how the container learns whether its address is in use.
//!
//! The loopback interface is known by its MAC address: it has that from the beginning, and a tag only
//! afterwards. It goes with the last interface that uses its addresses.

use super::super::interface::{Address, Interface};
use super::super::memif::MemifMode;
use super::super::route::Borrower;
use super::super::tag::{gateway_mac, gateway_tag, tag_of};
use super::super::{Session, VppError};
use super::view::View;
use super::{Kind, PortSpec};
use crate::result::CniResult;
use crate::state::Owner;
use std::net::IpAddr;
use std::path::Path;

/// VPP's end of a container's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Their gateways; each network has one.
    pub gateways: Vec<Address>,
    /// The container's addresses there.
    pub hosts: Vec<IpAddr>,
}

impl PortSpec {
    /// VPP's end of the container's networks, as the runtime was told. A network without a gateway needs
    /// nothing.
    #[must_use]
    pub fn routes(&self, told: &CniResult) -> Routes {
        let ours = |number: usize| {
            let interface = told.interfaces.get(number);
            interface.is_some_and(|interface| self.socket == Path::new(&interface.socket_path))
        };
        let mut routes = Routes::default();
        for ip in told.ips.iter().filter(|ip| self.routed && ip.interface.is_some_and(ours)) {
            let parsed = (ip.address.parse::<Address>(), ip.gateway.parse::<IpAddr>());
            let (Ok(address), Ok(gateway)) = parsed else { continue };
            let gateway = Address { ip: gateway, ..address };
            if !routes.gateways.contains(&gateway) {
                routes.gateways.push(gateway);
            }
            routes.hosts.push(address.ip);
        }
        routes
    }

    /// Whether the other end asks for its neighbours by ARP.
    const fn has_arp(&self) -> bool {
        match &self.kind {
            Kind::Memif(memif) => matches!(memif.mode, MemifMode::Ethernet),
            Kind::Vhost { .. } => true,
        }
    }
}

impl Session {
    /// Connects the interface of an attachment with the container's networks.
    ///
    /// # Errors
    /// [`VppError::Vanished`] when it is gone; those of the connection.
    pub fn route_port(&mut self, port: &PortSpec, routes: &Routes) -> Result<(), VppError> {
        if routes.gateways.is_empty() {
            return Ok(());
        }
        let tag = tag_of(&port.owner);
        let all = self.interfaces()?;
        let Some(interface) = all.iter().find(|it| it.tag == tag) else {
            return Err(VppError::Vanished { what: "the interface".to_owned() });
        };
        let index = interface.sw_if_index;
        let from = self.have_gateways(&port.owner.network, &all, &routes.gateways)?;
        self.borrow_addresses(Borrower { sw_if_index: index, from }, true)?;
        if routes.hosts.iter().any(IpAddr::is_ipv6) {
            self.enable_ip6(index)?;
        }
        for host in &routes.hosts {
            self.add_host_route(*host, index)?;
            if let (IpAddr::V4(host), true) = (host, port.has_arp()) {
                self.set_arp_proxy(*host, true)?;
            }
        }
        if port.has_arp() { self.answer_arp(index, true) } else { Ok(()) }
    }

    /// Has gateways on the loopback interface of a network; returns its number.
    fn have_gateways(
        &mut self,
        network: &str,
        all: &[Interface],
        gateways: &[Address],
    ) -> Result<u32, VppError> {
        let index = match loopback_of(network, all) {
            Some(index) => index,
            None => self.add_loopback(gateway_mac(network))?,
        };
        self.set_tag(index, &gateway_tag(network))?;
        self.set_up(index)?;
        let there = self.addresses(index)?;
        for gateway in gateways.iter().filter(|gateway| !there.contains(gateway)) {
            self.add_address(index, *gateway)?;
        }
        Ok(index)
    }

    /// Removes the routes to a container, unless they lead elsewhere by now.
    pub(super) fn remove_routes(
        &mut self,
        view: &View,
        owner: &Owner,
        hosts: &[IpAddr],
    ) -> Result<(), VppError> {
        let tag = tag_of(owner);
        let ours = |index: u32| {
            let interface = view.interfaces.iter().find(|it| it.sw_if_index == index);
            interface.is_none_or(|it| it.tag == tag)
        };
        for host in hosts {
            let by = self.host_route(*host)?;
            if !by.is_none_or(ours) {
                continue;
            }
            if let IpAddr::V4(host) = host {
                self.set_arp_proxy(*host, false)?;
            }
            if let Some(index) = by {
                self.remove_host_route(*host, index)?;
            }
        }
        Ok(())
    }

    /// Has the interfaces of a network that are about to go use no others' addresses.
    pub(super) fn give_gateways_back(&mut self, going: &[u32]) -> Result<(), VppError> {
        for borrower in self.borrowers()? {
            if going.contains(&borrower.sw_if_index) {
                self.answer_arp(borrower.sw_if_index, false)?;
                self.borrow_addresses(borrower, false)?;
            }
        }
        Ok(())
    }

    /// Removes the loopback interface of a network when nobody uses its addresses.
    pub(super) fn remove_gateways_if_unused(
        &mut self,
        view: &View,
        network: &str,
    ) -> Result<(), VppError> {
        let Some(index) = loopback_of(network, &view.interfaces) else { return Ok(()) };
        if self.borrowers()?.iter().any(|it| it.from == index) {
            return Ok(());
        }
        self.remove_addresses(index)?;
        self.delete_loopback(index)
    }

    /// Says what of a container's networks is not there.
    pub(super) fn route_differences(
        &mut self,
        owner: &Owner,
        index: u32,
        all: &[Interface],
        routes: &Routes,
    ) -> Result<Vec<String>, VppError> {
        if routes.gateways.is_empty() {
            return Ok(Vec::new());
        }
        let from = loopback_of(&owner.network, all);
        let there = from.map(|from| self.addresses(from)).transpose()?.unwrap_or_default();
        let missing = routes.gateways.iter().filter(|gateway| !there.contains(gateway));
        let mut found: Vec<String> =
            missing.map(|gateway| format!("gateway {gateway} is not there")).collect();
        let borrows = |it: &Borrower| it.sw_if_index == index && Some(it.from) == from;
        if !self.borrowers()?.iter().any(borrows) {
            found.push("it does not use the addresses of its gateways".to_owned());
        }
        for host in &routes.hosts {
            if self.host_route(*host)? != Some(index) {
                found.push(format!("the route to {host} is not there"));
            }
        }
        Ok(found)
    }
}

/// Number of the loopback interface that has the gateways of a network.
pub(super) fn loopback_of(network: &str, all: &[Interface]) -> Option<u32> {
    let mac = gateway_mac(network);
    let found = all.iter().find(|it| it.mac == mac && it.name.starts_with("loop"));
    found.map(|it| it.sw_if_index)
}
