//! A thread of another process, and the system calls that it makes.

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A thread that we trace, stopped whenever we look at it.
#[derive(Debug)]
pub(super) struct Traced(Pid);

/// Why there is no next marker.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the traced thread: {0:?}")]
    Ended(WaitStatus),
    #[error("ptrace: {0}")]
    Call(#[from] nix::Error),
}

impl Traced {
    /// Stops a running thread. Should we end, it ends as well.
    pub(super) fn seize(thread: Pid) -> Result<Self, Lost> {
        ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL)?;
        let traced = Self(thread);
        ptrace::interrupt(thread)?;
        match traced.wait()? {
            WaitStatus::PtraceEvent(..) => Ok(traced),
            other => Err(Lost::Ended(other)),
        }
    }

    fn wait(&self) -> nix::Result<WaitStatus> {
        waitpid(self.0, Some(WaitPidFlag::__WALL))
    }

    /// The system calls until the next marker, a call of getppid.
    pub(super) fn calls_to_marker(&self) -> Result<Vec<i64>, Lost> {
        let (mut calls, mut signal) = (Vec::new(), None);
        loop {
            ptrace::syscall(self.0, signal.take())?;
            match self.wait()? {
                WaitStatus::PtraceSyscall(_) => match self.entered()? {
                    Some(libc::SYS_getppid) => return Ok(calls),
                    call => calls.extend(call),
                },
                WaitStatus::Stopped(_, pending) => signal = Some(pending),
                WaitStatus::PtraceEvent(..) => {}
                ended => return Err(Lost::Ended(ended)),
            }
        }
    }

    /// The system call that is about to be made; none when one has just been made.
    fn entered(&self) -> nix::Result<Option<i64>> {
        let entry = ptrace::syscall_info(self.0)?.op == libc::PTRACE_SYSCALL_INFO_ENTRY;
        if !entry {
            return Ok(None);
        }
        Ok(Some(ptrace::getregs(self.0)?.orig_rax.cast_signed()))
    }
}

impl Drop for Traced {
    /// Lets it go on. If it was killed, its process cannot end before we have taken note of that.
    fn drop(&mut self) {
        if ptrace::detach(self.0, None).is_err() {
            let _ = waitpid(self.0, Some(WaitPidFlag::__WALL));
        }
    }
}
