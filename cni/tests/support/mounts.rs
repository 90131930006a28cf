//! File systems of one test: small ones, and ones that cannot be written.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use ringport_bench::peers::skip;
use std::io::ErrorKind;
use std::path::Path;

/// Has the calling thread, and what it starts from now on, see mounts of its own; they go with it.
/// `false`: that is not permitted, and the test was reported as skipped.
pub(crate) fn own_mounts(test: &str) -> bool {
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        skip(test, "a mount namespace is not permitted");
        return false;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    true
}

/// Puts a file system of `size` bytes at a directory, with at most `files` files and directories.
pub(crate) fn small(path: &Path, size: usize, files: usize) {
    std::fs::create_dir_all(path).unwrap();
    // Its own directory is one of them.
    let options = format!("size={size},nr_inodes={}", files + 1);
    mount(Some("none"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// Takes the file system at a directory away, or the fact that it cannot be written.
pub(crate) fn remove(path: &Path) {
    nix::mount::umount(path).unwrap();
}

/// Makes a directory one that cannot be written, by root neither.
pub(crate) fn read_only(path: &Path) {
    let none = None::<&str>;
    mount(Some(path), path, none, MsFlags::MS_BIND, none).unwrap();
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(Some(path), path, none, flags, none).unwrap();
}

/// Writes a file until nothing more fits.
pub(crate) fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    loop {
        match std::io::Write::write_all(&mut file, &[0; 4096]) {
            Ok(()) => {}
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::StorageFull);
                return;
            }
        }
    }
}
