//! A device's state on its way through a pipe of the front-end.

use super::state::{STATE_MAX, SavedState, StateError};
use crate::wire::DeviceState;
use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{pipe2, read, write};
use ringport::reactor::Interest;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// A state on its way.
///
/// The front-end may have its end set to block at any time, so that is only ever used by calls that
/// never do: what is to pass goes through a pipe of our own.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The front-end's.
    pipe: OwnedFd,
    from: OwnedFd,
    to: OwnedFd,
    way: Way,
    /// When it must be over; `None` when the clock ends before.
    pub(super) deadline: Option<Instant>,
}

#[derive(Debug)]
enum Way {
    /// So many bytes are not in the front-end's pipe yet; they are in ours.
    Save(usize),
    /// What has come so far.
    Load(Vec<u8>),
}

/// What came of a transfer that is over.
#[derive(Debug)]
pub(super) enum Moved {
    Saved,
    Loaded(Box<SavedState>),
}

/// Most bytes that one call moves.
const CHUNK: usize = 4096;
/// Most calls of one turn.
const CALLS_PER_TURN: usize = 8;

impl Transfer {
    /// Begins to move a state: `state` away, or another one here.
    pub(super) fn new(
        way: DeviceState,
        pipe: OwnedFd,
        state: impl FnOnce() -> SavedState,
        deadline: Option<Instant>,
    ) -> Result<Self, StateError> {
        let found = fstat(&pipe).map_err(failed)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFIFO {
            return Err(StateError::NotAPipe);
        }
        let (from, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(failed)?;
        let way = if way.direction == 0 {
            // A new pipe takes this much.
            Way::Save(write(&to, &state().encode()).map_err(failed)?)
        } else {
            Way::Load(Vec::new())
        };
        Ok(Self { pipe, from, to, way, deadline })
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> Interest {
        match self.way {
            Way::Save(_) => Interest::Write,
            Way::Load(_) => Interest::Read,
        }
    }

    /// Moves what can be moved now; `None` when there is more to come.
    pub(super) fn go_on(&mut self) -> Result<Option<Moved>, StateError> {
        for _ in 0..CALLS_PER_TURN {
            let done = match &mut self.way {
                Way::Save(left) => save(&self.from, &self.pipe, left)?,
                Way::Load(bytes) => load(&self.pipe, (&self.from, &self.to), bytes)?,
            };
            match done {
                Step::More => {}
                Step::Later => return Ok(None),
                Step::Over => return self.over().map(Some),
            }
        }
        Ok(None)
    }

    fn over(&self) -> Result<Moved, StateError> {
        match &self.way {
            Way::Save(_) => Ok(Moved::Saved),
            Way::Load(bytes) => SavedState::decode(bytes).map(Box::new).map(Moved::Loaded),
        }
    }
}

impl AsFd for Transfer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

enum Step {
    More,
    Later,
    Over,
}

fn save(from: &OwnedFd, pipe: &OwnedFd, left: &mut usize) -> Result<Step, StateError> {
    if *left == 0 {
        return Ok(Step::Over);
    }
    match without_signal(|| shift(from, pipe, *left)) {
        Ok(count) => {
            *left = left.saturating_sub(count);
            Ok(if *left == 0 { Step::Over } else { Step::More })
        }
        Err(Errno::EAGAIN) => Ok(Step::Later),
        Err(errno) => Err(failed(errno)),
    }
}

/// Until the front-end has closed its end.
fn load(
    pipe: &OwnedFd,
    (from, to): (&OwnedFd, &OwnedFd),
    bytes: &mut Vec<u8>,
) -> Result<Step, StateError> {
    match shift(pipe, to, CHUNK) {
        Ok(0) => return Ok(Step::Over),
        Ok(_) => {}
        Err(Errno::EAGAIN) => return Ok(Step::Later),
        Err(errno) => return Err(failed(errno)),
    }
    let mut buffer = [0; CHUNK];
    let count = read(from, &mut buffer).map_err(failed)?;
    bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    if bytes.len() > STATE_MAX {
        return Err(StateError::TooLong);
    }
    Ok(Step::More)
}

fn shift(from: &OwnedFd, to: &OwnedFd, most: usize) -> nix::Result<usize> {
    splice(from, None, to, None, most, SpliceFFlags::SPLICE_F_NONBLOCK)
}

/// Writes to a pipe that the front-end may close at any time, which is not to end the process: whatever
/// that does about SIGPIPE, it never sees this one.
fn without_signal(write: impl FnOnce() -> nix::Result<usize>) -> nix::Result<usize> {
    let signal = SigSet::from(Signal::SIGPIPE);
    let before = signal.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let written = write();
    if written == Err(Errno::EPIPE) && !before.contains(Signal::SIGPIPE) {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        // It waits for this thread, and for no other.
        SignalFd::with_flags(&signal, flags)?.read_signal()?;
    }
    before.thread_set_mask()?;
    written
}

fn failed(errno: Errno) -> StateError {
    StateError::Pipe(std::io::Error::from(errno).kind())
}
