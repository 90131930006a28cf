//! The machines of the lab have the devices that tests need (verified with kernel 6.12.117 and QEMU 11.1.3).
#![allow(clippy::unwrap_used, reason = "a test")]

mod lab;

use lab::{Inside, Tier, in_vm};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

fn is_device(node: &Path) -> bool {
    fs::metadata(node).is_ok_and(|found| found.file_type().is_char_device())
}

/// The identifiers of a PCI function: vendor and device.
fn identifiers(address: &str) -> [String; 2] {
    ["vendor", "device"].map(|name| {
        let path = format!("/sys/bus/pci/devices/{address}/{name}");
        fs::read_to_string(path).unwrap().trim().to_owned()
    })
}

#[track_caller]
fn opens(node: &Path) {
    assert!(is_device(node), "{}", node.display());
    fs::File::options().read(true).write(true).open(node).unwrap();
}

#[test]
fn vduse_has_its_control_node_when_its_module_is_loaded() {
    in_vm("vduse_has_its_control_node_when_its_module_is_loaded", Tier::T1, |inside| {
        inside.load(&["vhost_vdpa", "virtio_vdpa", "vduse"]);
        opens(Path::new("/dev/vduse/control"));
        assert!(inside.sh("vdpa mgmtdev show").contains("vduse"));
    });
}

#[test]
fn simulated_device_appears_and_opens() {
    in_vm("simulated_device_appears_and_opens", Tier::T2, |inside| {
        let node = inside.simulator("vdpa0", "02:00:00:00:00:55");
        assert_eq!(node, PathBuf::from("/dev/vhost-vdpa-0"));
        opens(&node);
        let shown = inside.sh("vdpa dev config show vdpa0");
        assert!(shown.contains("mac 02:00:00:00:00:55"), "{shown}");
    });
}

#[test]
fn virtio_device_under_vp_vdpa_appears_and_opens() {
    in_vm("virtio_device_under_vp_vdpa_appears_and_opens", Tier::T2, |inside| {
        let node = inside.vp_vdpa("vdpa0", "0000:00:10.0");
        // Without an IOMMU the kernel would not let it be opened.
        opens(&node);
        inside.load(&["virtio_net"]);
        assert_eq!(inside.interfaces("0000:00:10.0"), [""; 0]);
        assert_eq!(inside.interfaces("0000:00:11.0").len(), 1);
    });
}

#[test]
fn virtual_functions_appear_below_a_virtio_device_and_take_either_driver() {
    let test = "virtual_functions_appear_below_a_virtio_device_and_take_either_driver";
    in_vm(test, Tier::T3, |inside| {
        let functions = inside.virtual_functions(3);
        assert_eq!(functions, ["0000:01:00.1", "0000:01:00.2", "0000:01:00.3"]);
        for function in &functions {
            assert_eq!(identifiers(function), ["0x1af4", "0x1041"]);
            let parent =
                fs::canonicalize(format!("/sys/bus/pci/devices/{function}/physfn")).unwrap();
            assert!(parent.ends_with("0000:01:00.0"), "{}", parent.display());
        }
        assert_eq!(inside.interfaces("0000:01:00.0").len(), 1);
        assert_eq!(groups(&functions).len(), 3);
        opens(&inside.vfio(&functions[0]));
        opens(&inside.vp_vdpa("vdpa1", &functions[1]));
        assert_eq!(inside.sh("vdpa dev show -j vdpa1").matches("0000:01:00.2").count(), 1);
    });
}

#[test]
fn two_devices_are_on_one_wire() {
    in_vm("two_devices_are_on_one_wire", Tier::T2, |inside| {
        inside.load(&["virtio_net"]);
        frames_pass(inside, "0000:00:10.0", "0000:00:11.0");
    });
}

#[test]
fn virtual_function_is_on_one_wire_with_its_physical_one() {
    in_vm("virtual_function_is_on_one_wire_with_its_physical_one", Tier::T3, |inside| {
        let functions = inside.virtual_functions(1);
        inside.bind(&functions[0], "virtio-pci");
        frames_pass(inside, &inside.physical_function(), &functions[0]);
    });
}

/// Both are to be interfaces. The second is put in a network namespace, for else nothing would go by the wire.
fn frames_pass(inside: &Inside, near: &str, far: &str) {
    let interface = |of| inside.wait_for("an interface", || inside.interfaces(of).pop());
    let (near, far) = (interface(near), interface(far));
    let said = inside.sh(&format!(
        "ip netns add far; ip link set {far} netns far
         ip -n far address add 10.0.0.2/24 dev {far}; ip -n far link set {far} up
         ip address add 10.0.0.1/24 dev {near}; ip link set {near} up
         busybox ping -c 3 -A -W 5 10.0.0.2"
    ));
    assert!(said.contains("3 packets received"), "{said}");
}

#[test]
fn test_that_fails_in_a_machine_fails() {
    let test = "test_that_fails_in_a_machine_fails";
    let result = catch_unwind(|| in_vm(test, Tier::T1, |_| panic!("on purpose")));
    match result {
        Err(failure) if Inside::is_here() => resume_unwind(failure),
        Err(failure) => {
            let said = failure.downcast_ref::<String>().unwrap();
            assert!(said.ends_with("exit code 101"), "{said}");
        }
        // There is no kit here.
        Ok(()) => {}
    }
}

/// The IOMMU groups of functions: each must be alone in its own to be given away.
fn groups(functions: &[String]) -> HashSet<PathBuf> {
    let group =
        |function| fs::read_link(format!("/sys/bus/pci/devices/{function}/iommu_group")).unwrap();
    functions.iter().map(group).collect()
}
