//! Kills a call of the plugin at a chosen step: when it, or the delegate that it runs, is about to make
//! the nth system call by which the world outside could see that it was there.

use super::call::Runtime;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use ringport_bench::peers::skip;
use std::io::Write;
use std::process::Command;

/// More steps than any call has.
const STEPS_MAX: usize = 1000;

/// Kills a verb at its first step, at its second and so on, until it ends well without being killed.
/// `before` comes before each call, `after` behind each that was killed, with the number of the step.
/// Returns how many steps there were. `None`: tracing is not permitted, the test was skipped.
pub(crate) fn at_every_step(
    test: &str,
    runtime: &Runtime,
    verb: &str,
    before: impl Fn(),
    after: impl Fn(usize),
) -> Option<usize> {
    for step in 0..STEPS_MAX {
        before();
        match run(runtime, verb, step) {
            Ok(End::Killed) => after(step),
            Ok(End::Ended(status)) => {
                assert_eq!(status, 0, "{verb} that nobody killed");
                return Some(step);
            }
            Err(Errno::EPERM) => {
                skip(test, "ptrace is not permitted");
                return None;
            }
            Err(error) => panic!("step {step} of {verb}: {error}"),
        }
    }
    panic!("{verb} does not end")
}

enum End {
    Killed,
    Ended(i32),
}

/// Runs a verb until it is about to take a step. Whoever traces must be the thread that starts.
fn run(runtime: &Runtime, verb: &str, step: usize) -> nix::Result<End> {
    std::thread::scope(|scope| scope.spawn(|| Traced::start(runtime, verb)?.until(step)).join())
        .unwrap()
}

/// The plugin, and whatever it starts.
struct Traced(Pid);

impl Traced {
    #[expect(clippy::zombie_processes, reason = "it is waited for with all that it starts")]
    fn start(runtime: &Runtime, verb: &str) -> nix::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userspace"));
        command.env_clear().env("CNI_COMMAND", verb);
        let mut child = runtime.spawn(&mut command);
        let this = Self(Pid::from_raw(i32::try_from(child.id()).unwrap()));
        let follow = Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK;
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL | follow;
        // It waits for its configuration, and has done nothing yet.
        ptrace::seize(this.0, options)?;
        ptrace::interrupt(this.0)?;
        let stopped = waitpid(this.0, Some(WaitPidFlag::__WALL))?;
        assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{stopped:?}");
        let configuration = runtime.conf.to_string();
        child.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
        resume(this.0, None);
        Ok(this)
    }

    /// Lets everybody run until the step, and kills all of them then.
    fn until(self, step: usize) -> nix::Result<End> {
        let (mut steps, mut end) = (0, None);
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    // Who is being killed already has no registers.
                    if is_step(thread).unwrap_or(false) {
                        if steps == step {
                            return self.kill();
                        }
                        steps += 1;
                    }
                    resume(thread, None);
                }
                Ok(WaitStatus::Stopped(thread, signal)) => resume(thread, Some(signal)),
                Ok(WaitStatus::Exited(thread, status)) if thread == self.0 => {
                    end = Some(End::Ended(status));
                }
                Ok(other) => other.pid().into_iter().for_each(|thread| resume(thread, None)),
                Err(Errno::ECHILD) => return end.ok_or(Errno::ECHILD),
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills all and waits until they are gone.
    fn kill(self) -> nix::Result<End> {
        killpg(self.0, Signal::SIGKILL)?;
        while waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).is_ok() {}
        Ok(End::Killed)
    }
}

/// Lets a thread run to its next system call. It may have ended.
fn resume(thread: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(thread, signal);
}

/// Whether a thread is about to make a system call that changes something for others: in the file
/// system, on a socket or pipe, by a lock, by starting a program.
fn is_step(thread: Pid) -> nix::Result<bool> {
    if ptrace::syscall_info(thread)?.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(false);
    }
    let registers = ptrace::getregs(thread)?;
    Ok(match registers.orig_rax.cast_signed() {
        libc::SYS_openat => {
            let flags = i32::try_from(registers.rdx & 0xffff_ffff).unwrap_or(-1);
            flags & (libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_RDWR) != 0
        }
        call => STEPS.contains(&call),
    })
}

const STEPS: [i64; 29] = [
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_flock,
    libc::SYS_execve,
];
