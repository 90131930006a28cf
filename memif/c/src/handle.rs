//! Handles: numbers in the shape of pointers, which nobody dereferences.
//!
//! A handle says which table it belongs to, where in it, and how often that place was used before. So
//! one that was closed, or that never was, is an error and nothing worse; so is one that two threads use
//! at once. Looking one up takes a lock that nobody waits for: a few nanoseconds a burst.
//!
//! The highest bit is set in each: on 64-bit machines no program has memory there, so that neither C nor a
//! garbage collector takes one for an address.

use crate::error::Failure;
use crossbeam::utils::CachePadded;
use std::collections::VecDeque;
use std::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// What a table holds. The number is part of each handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Port = 1,
    Rx = 2,
    Tx = 3,
}

const KIND_BITS: u32 = 2;
const PLACE_BITS: u32 = 16;
const CHUNK: usize = 64;
const CHUNKS: usize = (1 << PLACE_BITS) / CHUNK;

/// Open objects of one kind, at most 65536.
pub(crate) struct Table<T> {
    kind: Kind,
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS],
    places: Mutex<Places>,
}

type Slot<T> = CachePadded<Mutex<Entry<T>>>;

struct Entry<T> {
    /// How many objects were here before.
    generation: usize,
    value: Option<T>,
}

/// Where the next object goes.
struct Places {
    /// Used before, longest ago first.
    free: VecDeque<usize>,
    /// Never used from here on.
    fresh: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new(kind: Kind) -> Self {
        let places = Places { free: VecDeque::new(), fresh: 0 };
        Self { kind, chunks: [const { OnceLock::new() }; CHUNKS], places: Mutex::new(places) }
    }

    /// Takes `value` in, and returns its handle.
    pub(crate) fn insert<H>(&self, value: T) -> Result<*mut H, Failure> {
        let place = self.lock_places().take().ok_or(Failure::TooManyHandles)?;
        let slot = self.slot(place).ok_or(Failure::TooManyHandles)?;
        let mut entry = lock(slot);
        entry.value = Some(value);
        Ok(ptr::without_provenance_mut(encode(self.kind, place, entry.generation)))
    }

    /// Runs `work` on the object of a handle.
    #[inline]
    pub(crate) fn with<H, R>(
        &self,
        handle: *mut H,
        work: impl FnOnce(&mut T) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let (_, mut entry) = self.find(handle.addr())?;
        work(entry.value.as_mut().ok_or(Failure::NoSuchHandle)?)
    }

    /// Takes the object of a handle out, which is then a handle no more.
    pub(crate) fn remove<H>(&self, handle: *mut H) -> Result<T, Failure> {
        let (place, mut entry) = self.find(handle.addr())?;
        let value = entry.value.take().ok_or(Failure::NoSuchHandle)?;
        entry.generation = entry.generation.wrapping_add(1) & GENERATION_MASK;
        drop(entry);
        self.lock_places().free.push_back(place);
        Ok(value)
    }

    #[inline]
    fn find(&self, handle: usize) -> Result<(usize, MutexGuard<'_, Entry<T>>), Failure> {
        if handle == 0 {
            return Err(Failure::Null { what: "the handle" });
        }
        let place = place_of(handle);
        let slot = self.existing_slot(place).ok_or(Failure::NoSuchHandle)?;
        let entry = match slot.try_lock() {
            Ok(entry) => entry,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Failure::InUse),
        };
        if encode(self.kind, place, entry.generation) != handle {
            return Err(Failure::NoSuchHandle);
        }
        Ok((place, entry))
    }

    #[inline]
    fn existing_slot(&self, place: usize) -> Option<&Slot<T>> {
        self.chunks.get(place / CHUNK)?.get()?.get(place % CHUNK)
    }

    fn slot(&self, place: usize) -> Option<&Slot<T>> {
        let empty = || CachePadded::new(Mutex::new(Entry { generation: 0, value: None }));
        let chunk = self.chunks.get(place / CHUNK)?;
        chunk.get_or_init(|| (0..CHUNK).map(|_| empty()).collect()).get(place % CHUNK)
    }

    fn lock_places(&self) -> MutexGuard<'_, Places> {
        lock(&self.places)
    }
}

impl Places {
    fn take(&mut self) -> Option<usize> {
        if let Some(place) = self.free.pop_front() {
            return Some(place);
        }
        let place = self.fresh;
        if place >> PLACE_BITS != 0 {
            return None;
        }
        self.fresh = place.saturating_add(1);
        Some(place)
    }
}

const HIGHEST: usize = !(usize::MAX >> 1);
const GENERATION_MASK: usize = usize::MAX >> (KIND_BITS + PLACE_BITS + 1);

#[inline]
fn encode(kind: Kind, place: usize, generation: usize) -> usize {
    HIGHEST | (generation << (KIND_BITS + PLACE_BITS)) | (place << KIND_BITS) | kind as usize
}

#[inline]
fn place_of(handle: usize) -> usize {
    (handle >> KIND_BITS) & ((1 << PLACE_BITS) - 1)
}

/// No code of ours panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn value(table: &Table<u32>, handle: *mut u8) -> Result<u32, Failure> {
        table.with(handle, |value| Ok(*value))
    }

    #[test]
    fn handle_is_found_until_it_is_removed_and_never_after() {
        static TABLE: Table<u32> = Table::new(Kind::Rx);
        let handle: *mut u8 = TABLE.insert(7).unwrap();
        assert_eq!(value(&TABLE, handle).unwrap(), 7);
        assert_eq!(TABLE.remove(handle).unwrap(), 7);
        assert!(matches!(TABLE.remove(handle), Err(Failure::NoSuchHandle)));
        let later: *mut u8 = TABLE.insert(8).unwrap();
        assert_eq!(place_of(later.addr()), place_of(handle.addr()), "the place is used again");
        assert!(matches!(value(&TABLE, handle), Err(Failure::NoSuchHandle)));
        assert_eq!(value(&TABLE, later).unwrap(), 8);
    }

    #[test]
    fn anything_else_is_no_handle() {
        static TABLE: Table<u32> = Table::new(Kind::Rx);
        static OTHER: Table<u32> = Table::new(Kind::Tx);
        let _first: *mut u8 = TABLE.insert(6).unwrap();
        let handle: *mut u8 = TABLE.insert(7).unwrap();
        assert!(matches!(value(&TABLE, ptr::null_mut()), Err(Failure::Null { .. })));
        let _: *mut u8 = OTHER.insert(9).unwrap();
        assert!(matches!(value(&OTHER, handle), Err(Failure::NoSuchHandle)), "of another kind");
        for bit in 0..usize::BITS {
            let odd = handle.addr() ^ (1 << bit);
            if place_of(odd) == 0 {
                continue;
            }
            let odd = ptr::without_provenance_mut(odd);
            assert!(matches!(value(&TABLE, odd), Err(Failure::NoSuchHandle)), "bit {bit}");
        }
    }

    #[test]
    fn handle_in_use_is_busy_for_others() {
        static TABLE: Table<u32> = Table::new(Kind::Rx);
        let handle: *mut u8 = TABLE.insert(7).unwrap();
        let meanwhile = TABLE.with(handle, |_| {
            assert!(matches!(TABLE.remove(handle), Err(Failure::InUse)));
            assert!(matches!(value(&TABLE, handle), Err(Failure::InUse)));
            Ok(())
        });
        assert!(meanwhile.is_ok());
        assert_eq!(value(&TABLE, handle).unwrap(), 7);
    }

    #[test]
    fn table_that_is_full_says_so_and_takes_again_what_room_it_gets() {
        static TABLE: Table<()> = Table::new(Kind::Port);
        let handles: Vec<*mut u8> =
            (0..1 << PLACE_BITS).map(|_| TABLE.insert(()).unwrap()).collect();
        assert!(matches!(TABLE.insert::<u8>(()), Err(Failure::TooManyHandles)));
        TABLE.remove(handles[5]).unwrap();
        assert_eq!(place_of(TABLE.insert::<u8>(()).unwrap().addr()), 5);
    }
}
