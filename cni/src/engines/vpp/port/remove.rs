//! Removing interfaces.

use super::super::tag::{start_of, tag_of};
use super::super::{Session, VppError};
use super::BRIDGE_TAG;
use super::view::{User, View};
use crate::state::Owner;
use std::net::IpAddr;

impl Session {
    /// Removes the interface of an attachment, its socket, the routes to the container, and those of its
    /// bridge domains and gateways that are ours and that nobody else uses. What is absent is removed already; what carries another tag stays.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn remove_port(
        &mut self,
        owner: &Owner,
        socket: &str,
        bridges: &[u32],
        hosts: &[IpAddr],
    ) -> Result<(), VppError> {
        let view = self.view()?;
        self.remove_routes(&view, owner, hosts)?;
        self.remove_leftovers(&view, owner, socket)?;
        self.remove_bridges_if_ours(bridges)?;
        self.remove_gateways_if_unused(&view, &owner.network)
    }

    /// Removes the interfaces of a network whose attachments are not in `keep`. Nobody knows any more
    /// where their routes led to: those stay, lead nowhere, and are replaced by the next container with
    /// the address.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn collect_ports(&mut self, network: &str, keep: &[Owner]) -> Result<(), VppError> {
        let start = start_of(network);
        let kept: Vec<String> = keep.iter().map(tag_of).collect();
        let view = self.view()?;
        let lost = |user: &&User| user.tag.starts_with(&start) && !kept.contains(&user.tag);
        self.remove_users(&view, &view.users.iter().filter(lost).collect::<Vec<_>>())?;
        self.remove_gateways_if_unused(&view, network)
    }

    /// Removes what there is of an attachment, except for the bridge domains that it is to be on.
    pub(super) fn remove_leftovers(
        &mut self,
        view: &View,
        owner: &Owner,
        socket: &str,
    ) -> Result<(), VppError> {
        let tag = tag_of(owner);
        let ours = |user: &&User| user.tag == tag || user.tag.is_empty() && user.is_on(socket);
        self.remove_users(view, &view.users.iter().filter(ours).collect::<Vec<_>>())?;
        view.unused(socket).into_iter().try_for_each(|id| self.remove_memif_socket(id))
    }

    fn remove_users(&mut self, view: &View, users: &[&User]) -> Result<(), VppError> {
        if users.is_empty() {
            return Ok(());
        }
        if view.has_gateways() {
            let going: Vec<u32> = users.iter().map(|user| user.sw_if_index).collect();
            self.give_gateways_back(&going)?;
        }
        let domains = self.bridges()?;
        let mut left = Vec::new();
        for user in users {
            for index in user.subs.iter().chain([&user.sw_if_index]) {
                for domain in domains.iter().filter(|it| it.members.contains(index)) {
                    // Not left to what a release does when an interface on a bridge domain goes.
                    self.leave_bridge(*index, domain.id)?;
                    left.push(domain.id);
                }
            }
            user.subs.iter().try_for_each(|sub| self.delete_sub(*sub))?;
            self.remove_user(user)?;
        }
        self.remove_bridges_if_ours(&left)
    }

    fn remove_user(&mut self, user: &User) -> Result<(), VppError> {
        tracing::info!(interface = user.name, socket = user.file, "removing");
        self.remove_addresses(user.sw_if_index)?;
        match user.memif_socket {
            Some(socket) => {
                self.delete_memif(user.sw_if_index)?;
                self.remove_memif_socket(socket)
            }
            None => self.delete_vhost(user.sw_if_index),
        }
    }

    fn remove_bridges_if_ours(&mut self, numbers: &[u32]) -> Result<(), VppError> {
        if numbers.is_empty() {
            return Ok(());
        }
        for domain in self.bridges()? {
            let ours = domain.tag == BRIDGE_TAG && domain.members.is_empty();
            if ours && numbers.contains(&domain.id) {
                self.remove_bridge(domain.id)?;
            }
        }
        Ok(())
    }
}
