//! Doorbells in a forked child: it inherits the number of the parent's AIO context, but no context.

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use ringport::doorbell::Doorbell;
use std::os::fd::AsFd;

#[test]
#[expect(unsafe_code, reason = "fork")]
fn forked_child_rings_and_leaves_the_parents_context_alone() {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let theirs = EventFd::from_flags(flags).unwrap();
    let fd = theirs.as_fd().try_clone_to_owned().unwrap();
    let doorbell = Doorbell::from_peer(fd).unwrap();
    doorbell.ring().unwrap();
    assert_eq!(theirs.read().unwrap(), 1);
    // SAFETY: the child rings, which takes no lock, and leaves without running anything else.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let rung = doorbell.ring().is_ok() && doorbell.ring().is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(!rung)) };
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            assert_eq!(theirs.read().unwrap(), 2);
            doorbell.ring().unwrap();
            assert_eq!(theirs.read().unwrap(), 1);
        }
    }
}
