//! A function of registers that can lie, and writes down what it is told.

use super::function::{Bell, Doorbell, Function, Part};
use super::layout::{Layout, Structure};
use super::start::FEATURES_OK;
use crate::device::DeviceError;
use nix::errno::Errno;
use ringport::error::CallError;
use std::cell::{RefCell, RefMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex};

/// Where it says that it has things.
pub(super) const LAYOUT: Layout = Layout {
    common: Structure { bar: 4, offset: 0, len: 0x1000 },
    notify: Structure { bar: 4, offset: 0x3000, len: 0x3000 },
    multiplier: 0x1000,
    device: Some(Structure { bar: 4, offset: 0x2000, len: 24 }),
};

/// What it was told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Status(u8),
    /// The first, and the eventfds.
    Vectors(u32, Vec<Option<i32>>),
    ClearVectors,
    ChangeVector(u16),
    Ring {
        ring: u16,
        at: u64,
        bytes: Vec<u8>,
    },
    /// Ring, place, eventfd.
    Doorbell(u16, u64, Option<i32>),
}

/// What it does otherwise than others.
#[derive(Debug, Clone, Default)]
pub(super) struct Lies {
    /// Resets are never over.
    pub(super) never_reset: bool,
    /// Features are not accepted.
    pub(super) refuses_features: bool,
    /// A vector that it does not have, nor those after it.
    pub(super) vectors: Option<u16>,
    /// Rings are enabled from the beginning.
    pub(super) enabled: bool,
    /// Bits that are in the status as well, unless it is 0.
    pub(super) status: u8,
    /// All doorbells have this number.
    pub(super) doorbell: Option<u16>,
    /// The kernel does not take the doorbell of this ring.
    pub(super) refuses_doorbell: Option<u16>,
    /// No thread can have a doorbell.
    pub(super) refuses_bells: bool,
    /// A thread cannot ring one.
    pub(super) breaks_bells: bool,
    /// The configuration changes whenever it is read, as often.
    pub(super) changes: usize,
    /// Nobody answers.
    pub(super) absent: bool,
    /// Nobody answers any more after so many reads.
    pub(super) answers: Option<usize>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lies: Lies,
    pub(super) told: Vec<Told>,
    pub(super) features: u64,
    pub(super) accepted: [u32; 2],
    /// Most descriptors of each.
    pub(super) rings: Vec<u16>,
    /// As `rings` has as many, if it says others.
    pub(super) says_rings: Option<u16>,
    /// Rings whose doorbells threads have rung.
    pub(super) rung: Arc<Mutex<Vec<u16>>>,
    pub(super) config: Vec<u8>,
    /// Widths of accesses to that.
    pub(super) widths: Vec<usize>,
    pub(super) status: u8,
    selects: [u32; 2],
    change_vector: u16,
    generation: u8,
    ring: u16,
    /// Of the selected one.
    vector: u16,
    enabled: bool,
}

#[derive(Debug)]
pub(super) struct Fake(RefCell<State>);

impl Fake {
    pub(super) fn new(lies: Lies) -> Self {
        Self(RefCell::new(State {
            lies,
            told: Vec::new(),
            features: 1 << 32 | 1 << 33 | 1 << 5,
            accepted: [0; 2],
            rings: vec![256, 256, 64],
            says_rings: None,
            config: (0..24).collect(),
            rung: Arc::default(),
            widths: Vec::new(),
            status: 0xf,
            selects: [0; 2],
            change_vector: 0xffff,
            generation: 0,
            ring: 0,
            vector: 0xffff,
            enabled: false,
        }))
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }
}

impl State {
    fn common(&mut self, at: u64) -> Vec<u8> {
        let half = usize::try_from(self.selects[0]).unwrap();
        let size = self.rings.get(usize::from(self.ring)).copied().unwrap_or(0);
        let two = |number: u16| number.to_le_bytes().to_vec();
        match at {
            4 => self.features.to_le_bytes()[4 * half..][..4].to_vec(),
            16 => two(self.change_vector),
            18 => two(self.says_rings.unwrap_or_else(|| u16::try_from(self.rings.len()).unwrap())),
            20 if self.status == 0 => vec![0],
            20 => vec![self.status | self.lies.status],
            21 => vec![self.generation],
            24 => two(size),
            26 => two(self.vector),
            28 => two(u16::from(self.enabled || self.lies.enabled)),
            30 => two(self.lies.doorbell.unwrap_or(self.ring)),
            _ => panic!("{at} is read"),
        }
    }

    fn set_common(&mut self, at: u64, bytes: &[u8]) {
        let mut number = [0; 4];
        number[..bytes.len()].copy_from_slice(bytes);
        let number = u32::from_le_bytes(number);
        let two = u16::from_le_bytes([number.to_le_bytes()[0], number.to_le_bytes()[1]]);
        let vectors = self.lies.vectors.unwrap_or(u16::MAX);
        let vector = if two < vectors { two } else { 0xffff };
        match at {
            0 => self.selects[0] = number,
            8 => self.selects[1] = number,
            12 => self.accepted[usize::try_from(self.selects[1]).unwrap()] = number,
            16 => {
                self.change_vector = vector;
                self.told.push(Told::ChangeVector(two));
            }
            20 => self.set_status(bytes[0]),
            22 => {
                self.ring = two;
                (self.vector, self.enabled) = (0xffff, false);
            }
            24..56 => {
                match at {
                    26 => self.vector = vector,
                    28 => self.enabled = two == 1,
                    _ => {}
                }
                self.told.push(Told::Ring { ring: self.ring, at, bytes: bytes.to_vec() });
            }
            _ => panic!("{at} is written"),
        }
    }

    fn set_status(&mut self, status: u8) {
        self.told.push(Told::Status(status));
        if status != 0 || !self.lies.never_reset {
            self.status = status;
        }
        if self.lies.refuses_features {
            self.status &= !FEATURES_OK;
        }
    }
}

impl Function for Fake {
    fn read(&self, part: Part, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        assert_eq!(offset % bytes.len() as u64, 0, "an access that is not aligned");
        let mut state = self.state();
        if let Some(left) = &mut state.lies.answers {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => state.lies.absent = true,
            }
        }
        if state.lies.absent {
            bytes.fill(0xff);
            return Ok(());
        }
        if part == Part::Common {
            bytes.copy_from_slice(&state.common(offset));
            return Ok(());
        }
        state.widths.push(bytes.len());
        let at = usize::try_from(offset).unwrap();
        bytes.copy_from_slice(&state.config[at..at + bytes.len()]);
        if state.lies.changes > 0 {
            state.lies.changes -= 1;
            state.generation = state.generation.wrapping_add(1);
            state.config.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        }
        Ok(())
    }

    fn write(&self, part: Part, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        assert!(part == Part::Common && offset.is_multiple_of(bytes.len() as u64));
        self.state().set_common(offset, bytes);
        Ok(())
    }

    fn set_vectors(
        &self,
        start: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), DeviceError> {
        let eventfds = eventfds.iter().map(|it| it.map(|fd| fd.as_raw_fd())).collect();
        self.state().told.push(Told::Vectors(start, eventfds));
        Ok(())
    }

    fn clear_vectors(&self) {
        self.state().told.push(Told::ClearVectors);
    }

    fn set_doorbell(
        &self,
        doorbell: Doorbell,
        kick: Option<BorrowedFd<'_>>,
    ) -> Result<(), DeviceError> {
        let mut state = self.state();
        if kick.is_some() && state.lies.refuses_doorbell == Some(doorbell.ring) {
            let source = Errno::ENOTTY.into();
            return Err(CallError { operation: "have the kernel ring a doorbell", source }.into());
        }
        let Doorbell { ring, offset } = doorbell;
        state.told.push(Told::Doorbell(ring, offset, kick.map(|fd| fd.as_raw_fd())));
        Ok(())
    }

    fn bell(&self, doorbell: Doorbell) -> Result<Box<dyn Bell>, DeviceError> {
        let state = self.state();
        if state.lies.refuses_bells {
            return Err(DeviceError::Unable("lend a doorbell"));
        }
        let (rung, breaks) = (Arc::clone(&state.rung), state.lies.breaks_bells);
        Ok(Box::new(FakeBell { ring: doorbell.ring, rung, breaks }))
    }
}

#[derive(Debug)]
struct FakeBell {
    ring: u16,
    rung: Arc<Mutex<Vec<u16>>>,
    breaks: bool,
}

impl Bell for FakeBell {
    fn ring(&self) -> Result<(), DeviceError> {
        if self.breaks {
            return Err(DeviceError::Gone);
        }
        self.rung.lock().unwrap().push(self.ring);
        Ok(())
    }
}
