//! Memory, rings and control: everything but the queues, so that the driver and control can act
//! while a burst is open.

use super::lane::Lane;
use super::layout::{Place, Ring, View};
use super::memory::{FRONT_ELSEWHERE, MISSING, Memory, ONE_MAPPING, THIRD_ELSEWHERE, Table};
use crate::input::Input;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::{LinkState, LinkStatus};
use ringport_vhost_user::memory::GuestMemory;
use ringport_vhost_user::virtqueue::{KickMode, RingAddresses, RingError, RingFeatures, RingStart};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct World {
    pub(super) memory: Memory,
    pub(super) table: Table,
    guest: Arc<GuestMemory>,
    pub(super) lanes: [Lane; 2],
    pub(super) link: Arc<LinkState>,
    pub(super) features: RingFeatures,
    pub(super) kicks: KickMode,
    /// A burst is open.
    pub(super) open: bool,
    /// Entries of the rings, where nothing else is said.
    sizes: [u16; 2],
}

impl World {
    pub(super) fn new(
        memory: Memory,
        variant: u8,
        lanes: [Lane; 2],
        link: Arc<LinkState>,
        features: RingFeatures,
        kicks: KickMode,
    ) -> Self {
        let table = Table::new(&memory, variant);
        let guest = table.map(&memory, &link);
        let sizes = lanes.each_ref().map(|lane| lane.ring.size);
        Self { memory, table, guest, lanes, link, features, kicks, open: false, sizes }
    }

    /// What the driver or control does next.
    pub(super) fn act(&mut self, input: &mut Input<'_>) {
        let [kind, which] = input.take();
        let lane = &mut self.lanes[usize::from(which & 1)];
        match kind % 14 {
            0 => {
                let at = self.memory.place(input.u32(), 16);
                self.memory.put(at, &input.take::<16>());
                self.lanes.iter_mut().for_each(Lane::describe_anything);
            }
            1 => lane.put_descriptor(&self.memory, input),
            2 => lane.put_word(&self.memory, input),
            3 => self.change_memory(which),
            4 => {
                lane.enabled = which & 2 != 0 && lane.on;
                lane.control.set_enabled(which & 2 != 0);
            }
            5 => {
                lane.control.stop();
                lane.on = false;
            }
            6 => self.exchange_kick(which),
            7 => self.exchange_call(which),
            8 => lane.ask_for_calls(&self.memory, input),
            9 => self.restart(which, input),
            10 => self.start_anywhere(which, input),
            11 if which == 0xEE => self.link.close(),
            _ => lane.offer(&self.memory, &self.table, input),
        }
        let [one, other] = &mut self.lanes;
        if one.wild {
            other.spoil();
        }
        if other.wild {
            one.spoil();
        }
    }

    /// A new ring, empty, where rings belong; begins anywhere.
    pub(super) fn reset(&mut self, number: usize, base: u16) {
        let (size, packed) = (self.sizes[number], self.lanes[number].ring.packed);
        let at = if packed { base % size } else { base };
        let base = Place { at, wrap: !packed || base & 0x8000 != 0 };
        let [descriptor, driver, device] = Table::ring_addresses(number);
        let addresses = RingAddresses { size, descriptor, driver, device };
        if self.ring_at(addresses, number).is_none() {
            let started = self.start(number, addresses, base);
            assert!(started.is_err(), "a ring without memory");
            return;
        }
        // Only now: what is there runs on.
        self.lanes[number].ring = self.ring_at(addresses, number).expect("as a moment ago");
        self.lanes[number].wipe(&self.memory, base);
        self.start(number, addresses, base).expect("a good ring");
        let begins = !self.open;
        let honest = begins && self.has_all() && !self.lanes[1 - number].wild;
        let lane = &mut self.lanes[number];
        (lane.honest, lane.honest_index) = (honest, honest);
    }

    /// All regions are there that an honest driver uses.
    fn has_all(&self) -> bool {
        self.table.variant & MISSING == 0
    }

    /// Where a ring at these addresses is in the file, if it can be.
    fn ring_at(&self, addresses: RingAddresses, number: usize) -> Option<Ring> {
        let ring = Ring { size: addresses.size, ..self.lanes[number].ring };
        let starts = [addresses.descriptor, addresses.driver, addresses.device];
        let [table, driver, device] = [0, 1, 2].map(|area| {
            let at = self.table.front_end(starts[area], ring.lens()[area])?;
            // Spec: VIRTIO 1.3 §2.7, §2.8; a packed ring's events have fields of two bytes.
            let align = match (ring.packed, area) {
                (_, 0) => 16,
                (true, _) | (false, 1) => 2,
                (false, _) => 4,
            };
            at.is_multiple_of(align).then_some(at)
        });
        Some(Ring { areas: [table?, driver?, device?], ..ring })
    }

    fn start(
        &mut self,
        number: usize,
        addresses: RingAddresses,
        base: Place,
    ) -> Result<(), RingError> {
        let (kick, call) =
            (Arc::new(Doorbell::create().unwrap()), Arc::new(Doorbell::create().unwrap()));
        let lane = &mut self.lanes[number];
        let start = RingStart {
            addresses,
            base: lane.ring.base(base),
            features: self.features,
            kicks: self.kicks,
            kick: Some(kick),
            call: Some(Arc::clone(&call)),
            enabled: true,
            log: None,
            inflight: None,
        };
        lane.control.start(Arc::clone(&self.guest), start)?;
        (lane.on, lane.enabled, lane.broken, lane.known) = (true, true, None, true);
        (lane.next, lane.addresses) = (base, addresses);
        (lane.call, lane.kicked) = (Some(call), true);
        lane.starts += 1;
        Ok(())
    }

    /// Starts the ring again: where it stopped, or anywhere.
    fn restart(&mut self, which: u8, input: &mut Input<'_>) {
        let number = usize::from(which & 1);
        let base = input.u16();
        let lane = &mut self.lanes[number];
        let stopped = !lane.on && lane.known && lane.control.is_settled();
        if which & 2 != 0
            || !stopped
            || self.ring_at(self.lanes[number].addresses, number).is_none()
        {
            return self.reset(number, base);
        }
        let lane = &mut self.lanes[number];
        let goes_on = lane.control.base() == Some(lane.ring.base(lane.next));
        assert!(goes_on || lane.starts == 0, "{:?}, not {:?}", lane.control.base(), lane.next);
        if lane.starts > 0 {
            let (addresses, next) = (lane.addresses, lane.next);
            self.start(number, addresses, next).expect("where it was before");
        }
    }

    /// Starts the ring at addresses and with a size that the input says.
    fn start_anywhere(&mut self, which: u8, input: &mut Input<'_>) {
        let number = usize::from(which & 1);
        let (log2, base) = (input.u8(), input.u16());
        let packed = self.lanes[number].ring.packed;
        let size = if packed {
            u16::from(log2)
        } else {
            1u16.checked_shl(u32::from(log2 % 17)).unwrap_or(0)
        };
        let [descriptor, driver, device] = [0, 1, 2]
            .map(|_| Table::address(u64::from(input.u16()) * if which & 4 == 0 { 16 } else { 1 }));
        let addresses = RingAddresses { size, descriptor, driver, device };
        let good_size = if packed { (1..=0x8000).contains(&size) } else { size.is_power_of_two() };
        let at = if packed { base & 0x7fff } else { base };
        let base = Place { at, wrap: !packed || base & 0x8000 != 0 };
        let good_base = !packed || at < size;
        let found = self.ring_at(addresses, number).filter(|_| good_size && good_base);
        let before = self.lanes[number].ring;
        if let Some(ring) = found {
            self.lanes[number].ring = ring;
        }
        match self.start(number, addresses, base) {
            Ok(()) => assert!(found.is_some(), "a ring at {addresses:x?}"),
            Err(error) => {
                assert!(found.is_none(), "{error:?} at {addresses:x?}");
                self.lanes[number].ring = before;
                return;
            }
        }
        // Its areas may overlap: nobody knows what is in it.
        self.lanes[number].go_wild();
    }

    /// Moves to other regions, or to other mappings of the same.
    fn change_memory(&mut self, which: u8) {
        let known = MISSING | THIRD_ELSEWHERE | FRONT_ELSEWHERE | ONE_MAPPING;
        let next = Table::new(&self.memory, which & known);
        let guest = next.map(&self.memory, &self.link);
        let there = |lane: &Lane| {
            let (at, lens) = (lane.addresses, lane.ring.lens());
            let areas = [at.descriptor, at.driver, at.device].into_iter().zip(lens);
            let mut found = areas.map(|(at, len)| next.front_end(at, len));
            !lane.on || found.all(|area| area.is_some())
        };
        let prepared = self.lanes.each_ref().map(|lane| {
            let prepared = lane.control.retranslated(&guest);
            assert_eq!(prepared.is_ok(), there(lane), "{prepared:?}");
            prepared
        });
        let [Ok(first), Ok(second)] = prepared else { return };
        for (lane, prepared) in self.lanes.iter_mut().zip([first, second]) {
            lane.control.apply(prepared);
            let same_place = |bits: u8| next.variant & bits == self.table.variant & bits;
            lane.honest &= same_place(MISSING | THIRD_ELSEWHERE);
        }
        (self.table, self.guest) = (next, guest);
        self.memory.forget_mappings();
    }

    fn exchange_kick(&mut self, which: u8) {
        let lane = &mut self.lanes[usize::from(which & 1)];
        let kick = (which & 2 != 0).then(|| Arc::new(Doorbell::create().unwrap()));
        if lane.on {
            lane.kicked = kick.is_some();
        }
        lane.control.set_kick(kick).unwrap();
    }

    fn exchange_call(&mut self, which: u8) {
        let lane = &mut self.lanes[usize::from(which & 1)];
        let call = (which & 2 != 0).then(|| Arc::new(Doorbell::create().unwrap()));
        if lane.on {
            lane.call.clone_from(&call);
        }
        lane.control.set_call(call.clone());
        if let Some(call) = call.filter(|_| lane.on && lane.control.is_settled()) {
            assert!(call.drain().unwrap(), "a call may have been lost");
        }
    }

    /// Whether a burst may fail: then it says why.
    pub(super) fn check_down(&self, error: QueueError) {
        assert_eq!(error, QueueError::LinkDown);
        assert_eq!(self.link.status(), LinkStatus::Down, "the link is up");
    }

    /// What can be said between bursts.
    pub(super) fn check(&mut self) {
        for lane in &mut self.lanes {
            assert!(lane.control.is_settled(), "no burst is open");
            if !lane.on && lane.known {
                assert_eq!(lane.control.base(), Some(lane.ring.base(lane.next)));
            }
        }
    }

    pub(super) fn view<'a>(&'a self, bytes: &'a [u8]) -> View<'a> {
        View { bytes, table: &self.table }
    }
}
