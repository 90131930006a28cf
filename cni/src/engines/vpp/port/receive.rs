//! Having VPP receive from an interface as it should.

use super::super::receive::{RxQueue, number_of, thread_of};
use super::super::retval::UNIMPLEMENTED;
use super::super::tag::tag_of;
use super::super::{Session, VppError, accept};
use super::PortSpec;
use crate::conf::VppPlacement;

impl Session {
    /// Sets mode and workers of an interface that is connected, queue by queue, where they are not as
    /// they should be. Says what was set; nothing while it is not connected, when there is nothing that
    /// VPP would keep.
    ///
    /// # Errors
    /// [`VppError::NoWorker`]; those of the connection.
    pub fn set_receiving(&mut self, port: &PortSpec) -> Result<Vec<String>, VppError> {
        let tag = tag_of(&port.owner);
        let found = self.interfaces()?.into_iter().find(|it| it.tag == tag && it.linked);
        let Some(interface) = found else { return Ok(Vec::new()) };
        let index = interface.sw_if_index;
        let queues = self.rx_queues(index)?;
        let mut set = self.set_workers(index, &queues, &port.rx_placement)?;
        if let Some(mode) = port.rx_mode {
            for queue in queues.iter().filter(|queue| queue.mode != number_of(mode)) {
                self.set_rx_mode(index, queue.id, number_of(mode))?;
                set.push(format!("queue {}: {mode:?}", queue.id).to_lowercase());
            }
        }
        Ok(set)
    }

    fn set_workers(
        &mut self,
        index: u32,
        queues: &[RxQueue],
        wanted: &[VppPlacement],
    ) -> Result<Vec<String>, VppError> {
        let mut set = Vec::new();
        for &VppPlacement { queue, worker } in wanted {
            // The other end decides how many queues there are.
            let there = queues.iter().find(|it| it.id == queue);
            if there.is_none_or(|it| it.thread == thread_of(worker)) {
                continue;
            }
            accept(self.set_rx_worker(index, queue, worker), &[UNIMPLEMENTED])?;
            // Not every release refuses a worker that it does not have.
            let is = |it: &RxQueue| it.id == queue && it.thread == thread_of(worker);
            if !self.rx_queues(index)?.iter().any(is) {
                return Err(VppError::NoWorker { queue, worker });
            }
            set.push(format!("queue {queue}: worker {worker}"));
        }
        Ok(set)
    }
}
