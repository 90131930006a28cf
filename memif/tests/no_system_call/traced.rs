//! A thread of another process, and the system calls that it makes.

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A thread that we trace, stopped whenever we look at it.
pub(crate) struct Traced(Pid);

impl Traced {
    /// Stops a running thread. Should we end, it ends as well.
    pub(crate) fn seize(thread: Pid) -> nix::Result<Self> {
        ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL)?;
        let traced = Self(thread);
        ptrace::interrupt(thread)?;
        let stopped = traced.wait();
        assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{stopped:?}");
        Ok(traced)
    }

    fn wait(&self) -> WaitStatus {
        waitpid(self.0, Some(WaitPidFlag::__WALL)).unwrap()
    }

    /// The system calls until the next marker, a call of getppid, or how the thread ended instead.
    pub(crate) fn calls_to_marker(&self) -> Result<Vec<i64>, WaitStatus> {
        let (mut calls, mut signal) = (Vec::new(), None);
        loop {
            ptrace::syscall(self.0, signal.take()).unwrap();
            match self.wait() {
                WaitStatus::PtraceSyscall(_) => match self.entered() {
                    Some(libc::SYS_getppid) => return Ok(calls),
                    call => calls.extend(call),
                },
                WaitStatus::Stopped(_, pending) => signal = Some(pending),
                WaitStatus::PtraceEvent(..) => {}
                ended => return Err(ended),
            }
        }
    }

    /// The system call that is about to be made; none when one has just been made.
    fn entered(&self) -> Option<i64> {
        let entry = ptrace::syscall_info(self.0).unwrap().op == libc::PTRACE_SYSCALL_INFO_ENTRY;
        entry.then(|| ptrace::getregs(self.0).unwrap().orig_rax.cast_signed())
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
