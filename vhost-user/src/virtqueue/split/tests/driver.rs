//! A driver, plain and slow: it reads and writes the shared file with system calls, one field at a
//! time, and shares no code with the queues.

use super::{Ends, Ring, RxQueue, TxQueue};
use crate::backend::RingBase;
use crate::memory::{GuestMemory, Region};
use crate::virtqueue::{KickMode, RingAddresses, RingFeatures, RingStart};
use ringport::shm::{Backing, Mapping, MemoryPolicy, OwnedMemory};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Guest address of the memory's first byte.
pub(crate) const GUEST: u64 = 0x1_0000_0000;
/// Front-end address of it.
const FRONT_END: u64 = 0x7f12_3456_0000;
/// Where in the memory things are, from its start.
const TABLE: u64 = 0;
const AVAILABLE: u64 = 0x8_0000;
const USED: u64 = 0xa_0000;
/// Where buffers may be.
pub(crate) const DATA: u64 = 0x10_0000;
const LEN: u64 = 0x40_0000;
/// Bytes between the two regions in the file, which are neighbours in the guest.
const GAP: u64 = 0x3000;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) size: u16,
    pub(crate) base: u16,
    pub(crate) features: RingFeatures,
    pub(crate) kicks: KickMode,
    /// Where the second region begins, from the start of the memory.
    pub(crate) second_region: u64,
}

impl Setup {
    pub(crate) fn new(size: u16) -> Self {
        let features = RingFeatures { indirect: true, ..RingFeatures::default() };
        Self { size, base: 0, features, kicks: KickMode::default(), second_region: 0x20_0000 }
    }

    pub(crate) fn driver(&self) -> Driver {
        let (file, guest) = self.memory();
        let driver = Driver {
            file,
            guest,
            setup: self.clone(),
            published: self.base,
            seen: self.base,
            ends: Ends::new(),
        };
        driver.put(GUEST + AVAILABLE + 2, &self.base.to_le_bytes());
        driver.put(GUEST + USED + 2, &self.base.to_le_bytes());
        driver
    }

    /// Memory of a driver, and the file behind it.
    fn memory(&self) -> (File, Arc<GuestMemory>) {
        let len = usize::try_from(LEN + GAP).unwrap();
        let memory = OwnedMemory::create("driver", len, Backing::Pages).unwrap();
        let file = memory.fd().try_clone_to_owned().unwrap().into();
        (file, self.guest(memory.mapping()))
    }

    fn guest(&self, mapping: &Arc<Mapping>) -> Arc<GuestMemory> {
        let split = self.second_region;
        let region = |start: u64, size, offset, front_end| Region {
            guest: GUEST + start,
            front_end,
            size,
            mapping: Arc::clone(mapping),
            offset,
        };
        let regions = vec![
            region(split, LEN - split, split + GAP, FRONT_END - 0x10_0000_0000),
            region(0, split, 0, FRONT_END),
        ];
        Arc::new(GuestMemory::new(regions).unwrap())
    }

    pub(crate) fn rx(&self) -> (Driver, Ring<RxQueue>) {
        let driver = self.driver();
        let rx = driver.rx_from(self.base);
        (driver, rx)
    }

    pub(crate) fn tx(&self) -> (Driver, Ring<TxQueue>) {
        let driver = self.driver();
        let tx = driver.tx_from(self.base);
        (driver, tx)
    }
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) file: File,
    pub(crate) guest: Arc<GuestMemory>,
    pub(crate) setup: Setup,
    pub(crate) ends: Ends,
    /// Available index.
    pub(crate) published: u16,
    /// Used elements taken so far.
    seen: u16,
}

impl Driver {
    pub(crate) fn addresses(&self) -> RingAddresses {
        RingAddresses {
            size: self.setup.size,
            descriptor: FRONT_END + TABLE,
            driver: FRONT_END + AVAILABLE,
            device: FRONT_END + USED,
        }
    }

    pub(crate) fn start_at(&self, base: u16) -> RingStart {
        let Setup { features, kicks, .. } = self.setup;
        self.ends.start(self.addresses(), RingBase::Split { avail: base }, features, kicks)
    }

    pub(crate) fn rx_from(&self, base: u16) -> Ring<RxQueue> {
        Ring::rx(&self.ends, &self.guest, self.start_at(base))
    }

    pub(crate) fn tx_from(&self, base: u16) -> Ring<TxQueue> {
        Ring::tx(&self.ends, &self.guest, self.start_at(base))
    }

    /// Goes on in a copy of the memory, at the same addresses.
    pub(crate) fn move_memory(&mut self) {
        let mut bytes = vec![0; usize::try_from(LEN + GAP).unwrap()];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        (self.file, self.guest) = self.setup.memory();
        self.file.write_all_at(&bytes, 0).unwrap();
    }

    /// All that the guest has, from its first byte on.
    pub(crate) fn all(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(LEN).unwrap()];
        let (first, second) =
            bytes.split_at_mut(usize::try_from(self.setup.second_region).unwrap());
        self.file.read_exact_at(first, 0).unwrap();
        self.file.read_exact_at(second, self.setup.second_region + GAP).unwrap();
        bytes
    }

    /// Shares the same memory anew, as another generation.
    pub(crate) fn share_anew(&mut self) {
        let (policy, link) = (MemoryPolicy::Trust, &self.ends.link);
        let mapping = Mapping::from_peer(&self.file, LEN + GAP, policy, link).unwrap();
        self.guest = self.setup.guest(&Arc::new(mapping));
    }

    /// Where in the file a guest address is.
    fn offset(&self, guest: u64) -> u64 {
        let at = guest - GUEST;
        if at < self.setup.second_region { at } else { at + GAP }
    }

    pub(crate) fn put(&self, guest: u64, bytes: &[u8]) {
        let first = usize::try_from((GUEST + self.setup.second_region).saturating_sub(guest));
        let (first, second) = bytes.split_at(first.unwrap().min(bytes.len()));
        self.file.write_all_at(first, self.offset(guest)).unwrap();
        self.file.write_all_at(second, self.offset(guest + first.len() as u64)).unwrap();
    }

    pub(crate) fn get(&self, guest: u64, len: usize) -> Vec<u8> {
        let byte = |at: u64| {
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, self.offset(at)).unwrap();
            byte[0]
        };
        let end = guest + len as u64;
        let boundary = GUEST + self.setup.second_region;
        if guest < boundary && end > boundary {
            return (guest..end).map(byte).collect();
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.offset(guest)).unwrap();
        bytes
    }

    fn word(&self, guest: u64) -> u16 {
        u16::from_le_bytes(self.get(guest, 2).try_into().unwrap())
    }

    /// The bytes of a descriptor.
    pub(crate) fn bytes(address: u64, len: u32, flags: u16, next: u16) -> Vec<u8> {
        [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()]
            .concat()
    }

    pub(crate) fn describe(&self, at: u16, address: u64, len: u32, flags: u16, next: u16) {
        self.put(GUEST + TABLE + 16 * u64::from(at), &Self::bytes(address, len, flags, next));
    }

    /// Describes `buffers` (address and length) in the descriptors from `first` on, or in a table of
    /// their own at `table`.
    pub(crate) fn chain(
        &self,
        first: u16,
        buffers: &[(u64, u32)],
        write: bool,
        table: Option<u64>,
    ) {
        let write = if write { WRITE } else { 0 };
        let last = u16::try_from(buffers.len() - 1).unwrap();
        let mut bytes = Vec::new();
        for (at, &(address, len)) in (0..).zip(buffers) {
            let flags = write | if at < last { NEXT } else { 0 };
            match table {
                Some(_) => bytes.extend(Self::bytes(address, len, flags, at + 1)),
                None => {
                    let slot = |at: u16| (first + at) % self.setup.size;
                    self.describe(slot(at), address, len, flags, slot(at + 1));
                }
            }
        }
        if let Some(table) = table {
            self.put(table, &bytes);
            self.describe(first, table, u32::try_from(bytes.len()).unwrap(), INDIRECT, 0);
        }
    }

    /// Makes the chain at `head` available, and publishes it.
    pub(crate) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.published % self.setup.size);
        self.put(GUEST + AVAILABLE + 4 + 2 * slot, &head.to_le_bytes());
        self.publish(self.published.wrapping_add(1));
    }

    /// Publishes an index, whatever it is.
    pub(crate) fn publish(&mut self, index: u16) {
        self.published = index;
        self.put(GUEST + AVAILABLE + 2, &index.to_le_bytes());
    }

    /// Takes the used elements that are new: head and length written.
    pub(crate) fn used(&mut self) -> Vec<(u32, u32)> {
        let index = self.used_index();
        let mut used = Vec::new();
        while self.seen != index {
            let at = GUEST + USED + 4 + 8 * u64::from(self.seen % self.setup.size);
            let word = |at| u32::from_le_bytes(self.get(at, 4).try_into().unwrap());
            used.push((word(at), word(at + 4)));
            self.seen = self.seen.wrapping_add(1);
        }
        used
    }

    pub(crate) fn used_index(&self) -> u16 {
        self.word(GUEST + USED + 2)
    }

    pub(crate) fn used_flags(&self) -> u16 {
        self.word(GUEST + USED)
    }

    pub(crate) fn set_available_flags(&self, flags: u16) {
        self.put(GUEST + AVAILABLE, &flags.to_le_bytes());
    }

    /// With EVENT_IDX: the used entry to be called for.
    pub(crate) fn set_used_event(&self, event: u16) {
        let at = GUEST + AVAILABLE + 4 + 2 * u64::from(self.setup.size);
        self.put(at, &event.to_le_bytes());
    }

    /// With EVENT_IDX: the available entry that the device wants a kick for.
    pub(crate) fn available_event(&self) -> u16 {
        self.word(GUEST + USED + 4 + 8 * u64::from(self.setup.size))
    }

    /// Whether we were called since the last time.
    pub(crate) fn called(&self) -> bool {
        self.ends.call.as_ref().unwrap().drain().unwrap()
    }

    /// Sends `packet` behind an empty header as the chain at `head`, its bytes cut as `cuts` say,
    /// and all of it somewhere behind `at`. The header is cut as well.
    pub(crate) fn send_cut(&mut self, head: u16, packet: &[u8], cuts: &[usize], at: u64) {
        let whole = [&[0; 12], packet].concat();
        let (mut buffers, mut rest, mut to) = (Vec::new(), &whole[..], at);
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            if now.is_empty() {
                break;
            }
            self.put(to, now);
            buffers.push((to, u32::try_from(now.len()).unwrap()));
            to += now.len() as u64 + 5;
            rest = later;
        }
        self.chain(head, &buffers, false, None);
        self.offer(head);
    }
}

/// A frame of `len` bytes that differs from others in length and seed.
pub(crate) fn frame(len: usize, seed: u32) -> Vec<u8> {
    let byte = |n: u32| (n.wrapping_mul(31) ^ seed.wrapping_mul(97) ^ (n >> 8)).to_le_bytes()[0];
    (0..u32::try_from(len).unwrap()).map(byte).collect()
}

/// Takes everything that one burst delivers.
pub(crate) fn receive(rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let burst = rx.rx_burst(256).unwrap();
    burst.packets().map(|packet| packet.detach().to_vec()).collect()
}

/// Sends `frames` in one burst; returns how many were taken.
pub(crate) fn send(tx: &mut TxQueue, frames: &[Vec<u8>]) -> usize {
    let mut burst = tx.tx_burst(256).unwrap();
    let sent = frames.iter().take_while(|frame| burst.push(frame).is_ok()).count();
    assert_eq!(burst.commit(), sent);
    sent
}
