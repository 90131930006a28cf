//! Kicks where the kernel takes none.

use super::ask::ask;
use super::lab::{Inside, Tier, in_vm};
use super::place::{Place, holds, two_functions, write_soon};
use super::relay_support::{PATIENCE, drive_at, eventually, link_up};
use super::traffic::{Other, Traffic};
use ringport_bench::peers::CommandGuard;

/// Takes all 1000 places that the kernel has for a function's doorbells, by the file of the process that has the
/// function. They stay taken until the function is closed, whoever has taken them. In Python: it needs no
/// compiler in the machine, and there is no unsafe code in this crate.
const TAKE_ALL: &str = r#"
import ctypes, errno, fcntl, os, struct, sys
pid = int(sys.argv[1])
files = f"/proc/{pid}/fd"
number, = [it for it in os.listdir(files) if "vfio-device" in os.readlink(f"{files}/{it}")]
libc = ctypes.CDLL(None, use_errno=True)
pidfd_getfd = 438
device = libc.syscall(pidfd_getfd, os.pidfd_open(pid), int(number), 0)
eventfd = libc.eventfd(0, 0)
assert device >= 0 and eventfd >= 0
doorbell = (4 << 40) + 0x3000
for taken in range(2000):
    # struct vfio_device_ioeventfd, 16 bits wide, for VFIO_DEVICE_IOEVENTFD
    wanted = struct.pack("=IIQQiI", 32, 2, doorbell, 0x1000 + taken, eventfd, 0)
    try:
        fcntl.ioctl(device, 0x3B74, wanted)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        break
assert taken == 1000, taken
"#;

fn take_all_places(inside: &Inside, daemon: &CommandGuard) {
    inside.sh(&format!("python3 - {} <<'END'{TAKE_ALL}END", daemon.pid()));
}

#[test]
fn function_whose_doorbells_the_kernel_does_not_ring_is_kicked_by_a_thread_and_taken_away() {
    let test = "kicks::function_whose_doorbells_the_kernel_does_not_ring_is_kicked_by_a_thread_and_taken_away";
    in_vm(test, Tier::T3, |inside| {
        let [function, _] = &two_functions(inside);
        let place = Place::new();
        let mut daemon = place.start();
        let before = holds(&daemon);
        inside.vfio(function);
        place.want(&[function]);
        place.lists(&[function]);
        let mut driver = drive_at(&place.socket(function), false);
        ask(&mut link_up(&mut driver), 2);
        place.says(function, "stats", &["kicks=kernel"]);
        drop(driver);
        place.says(function, "stats", &["kicks=-"]);

        take_all_places(inside, &daemon);
        for _ in 0..3 {
            let mut driver = drive_at(&place.socket(function), false);
            let mut link = link_up(&mut driver);
            place.says(function, "stats", &["kicks=thread"]);
            ask(&mut link, 20);
            drop((link, driver));
            place.says(function, "stats", &["kicks=-"]);
        }
        println!("{}", daemon.wait_for_line("kicks go through a thread: ", PATIENCE).unwrap());
        let mut driver = drive_at(&place.socket(function), false);
        let traffic = Traffic::over(link_up(&mut driver), Other::Interface);
        // It is given back with the thread and its file.
        let physical = inside.physical_function();
        write_soon(&format!("/sys/bus/pci/devices/{physical}/sriov_numvfs"), "0");
        println!("{}", traffic.end(&mut driver));
        place.want(&[]);
        eventually(&format!("{before:?} as before"), || holds(&daemon) == before);
    });
}
