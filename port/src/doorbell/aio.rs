//! Signals eventfds through Linux AIO, which cannot block.
//!
//! The request is a read of zero bytes from the eventfd itself. The kernel refuses the read (it
//! would have to be of eight bytes) without looking at the counter, and completes the request at
//! once, inside `io_submit`, as one that asked to be told through the same eventfd. That signal is
//! the kernel's own, which adds one unless the counter is full and never waits.
//!
//! Results pile up in the context's ring of about a hundred. When it is full, a submission fails,
//! they are thrown away, and it is repeated: one more system call in a hundred rings.

use crossbeam::queue::SegQueue;
use nix::errno::Errno;
use nix::libc;
use std::cell::RefCell;
use std::ffi::{c_long, c_ulong};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Results thrown away at a time. More than a submission needs, so that few system calls do.
const REAP_MAX: usize = 128;

/// How often to make room in a ring before giving up. Once is enough, unless the kernel keeps
/// credits for processors that the thread ran on before.
const SUBMIT_ATTEMPTS_MAX: usize = 4;

/// `IOCB_CMD_PREAD` of the kernel's `aio_abi.h`.
const IOCB_CMD_PREAD: u16 = 0;
/// `IOCB_FLAG_RESFD`: signal `resfd` when done.
const IOCB_FLAG_RESFD: u32 = 1;

/// The kernel's `struct iocb`.
#[derive(Debug, Default)]
#[repr(C)]
struct Iocb {
    data: u64,
    /// `aio_key`, which the kernel writes, and `aio_rw_flags`, in an order that depends on the
    /// machine.
    key_and_rw_flags: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

const _: () = assert!(size_of::<Iocb>() == 64);

/// The kernel's `struct io_event`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct IoEvent {
    data: u64,
    request: u64,
    result: [i64; 2],
}

const _: () = assert!(size_of::<IoEvent>() == 32);

/// Contexts whose thread has ended, for the next one. Destroying a context waits for tens of
/// milliseconds, which would be the ending thread's.
static IDLE: SegQueue<Context> = SegQueue::new();

thread_local! {
    static LEASE: RefCell<Lease> = const { RefCell::new(Lease(State::Unused)) };
}

/// This thread's context. It goes back when the thread ends.
struct Lease(State);

#[derive(Clone, Copy)]
enum State {
    /// Nothing asked for yet.
    Unused,
    Ready(Context),
    /// The kernel gives none; it is not asked again from this thread.
    Refused(Errno),
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let State::Ready(context) = self.0 {
            IDLE.push(context);
        }
    }
}

impl Lease {
    /// The thread's context, made or taken over when there is none that works.
    fn context(&mut self) -> Result<Context, Errno> {
        if let State::Unused = self.0 {
            self.0 = match Context::obtain() {
                Ok(context) => State::Ready(context),
                // For want of memory, which may come back.
                Err(Errno::ENOMEM) => return Err(Errno::ENOMEM),
                Err(errno) => State::Refused(errno),
            };
        }
        match self.0 {
            State::Ready(context) => Ok(context),
            State::Refused(errno) => Err(errno),
            State::Unused => Err(Errno::EAGAIN),
        }
    }

    /// Whether the context is that of the process which forked this one.
    fn is_inherited(&self) -> bool {
        matches!(self.0, State::Ready(context) if context.process != std::process::id())
    }
}

/// Signals `eventfd`. Never blocks.
///
/// # Errors
/// Nothing was signalled: the thread has no context and gets none, or the kernel does not know this
/// use of an eventfd (`EINVAL`).
pub(super) fn signal(eventfd: BorrowedFd<'_>) -> Result<(), Errno> {
    submit(eventfd, 0, 0)
}

/// Whether `fd` is an eventfd, found out without signalling it.
///
/// # Errors
/// It cannot be found out.
pub(super) fn accepts(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    // The kernel looks at the eventfd first (EINVAL), at the buffer afterwards (EFAULT).
    match submit(fd, u64::MAX, 1) {
        Err(Errno::EFAULT) | Ok(()) => Ok(true),
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Submits a read of `bytes` from `eventfd` to `buffer`, to be signalled to itself.
fn submit(eventfd: BorrowedFd<'_>, buffer: u64, bytes: u64) -> Result<(), Errno> {
    let lease = LEASE.try_with(|lease| {
        let mut lease = lease.try_borrow_mut().map_err(|_| Errno::EBUSY)?;
        match lease.context()?.submit(eventfd, buffer, bytes) {
            // A forked child inherits the number of a context, but not the context.
            Err(Errno::EINVAL) if lease.is_inherited() => {
                lease.0 = State::Unused;
                lease.context()?.submit(eventfd, buffer, bytes)
            }
            result => result,
        }
    });
    // The thread is ending and has returned its context.
    lease.unwrap_or(Err(Errno::ESRCH))
}

/// An AIO context of this process. Never destroyed: the kernel does that at the process's end.
#[derive(Debug, Clone, Copy)]
struct Context {
    id: c_ulong,
    process: u32,
}

impl Context {
    /// Takes over an idle context, or makes one.
    fn obtain() -> Result<Self, Errno> {
        let process = std::process::id();
        while let Some(context) = IDLE.pop() {
            if context.process == process {
                return Ok(context);
            }
        }
        let mut id: c_ulong = 0;
        let requests: c_long = 1;
        // SAFETY: `id` is writable, and zero as io_setup demands.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, requests, &raw mut id) };
        Errno::result(result)?;
        Ok(Self { id, process })
    }

    fn submit(self, eventfd: BorrowedFd<'_>, buffer: u64, bytes: u64) -> Result<(), Errno> {
        let fd = eventfd.as_raw_fd().cast_unsigned();
        let mut request = Iocb {
            opcode: IOCB_CMD_PREAD,
            fd,
            buffer,
            bytes,
            flags: IOCB_FLAG_RESFD,
            resfd: fd,
            ..Iocb::default()
        };
        for _ in 0..SUBMIT_ATTEMPTS_MAX {
            match self.submit_once(&mut request) {
                Err(Errno::EAGAIN) => self.reap()?,
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    fn submit_once(self, request: &mut Iocb) -> Result<(), Errno> {
        let one: c_long = 1;
        let mut list = [ptr::from_mut(request)];
        // SAFETY: the list holds one pointer to a valid request, which the kernel reads and whose
        // key it writes during the call only. The read that it asks for is of zero bytes, or fails
        // for its address before it begins: nothing of ours is written to, now or later.
        let result = unsafe { libc::syscall(libc::SYS_io_submit, self.id, one, list.as_mut_ptr()) };
        Errno::result(result).map(drop)
    }

    /// Throws away the results of requests, all of which are complete.
    fn reap(self) -> Result<(), Errno> {
        let mut events = [IoEvent::default(); REAP_MAX];
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let (min, max): (c_long, c_long) = (0, REAP_MAX as c_long);
        // SAFETY: `events` has room for `max` events and is writable; `now` is a valid time, which
        // makes the call return at once.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                min,
                max,
                events.as_mut_ptr(),
                &raw const now,
            )
        };
        Errno::result(result).map(drop)
    }
}
