//! On made-up trees.

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const PF: &str = "sys/devices/pci0000:00/0000:00:03.0/0000:01:00.0";
const VF: &str = "sys/devices/pci0000:00/0000:00:03.0/0000:01:00.2";

struct Tree {
    root: TempDir,
}

impl Tree {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn discovery(&self) -> Discovery {
        Discovery::below(self.root.path())
    }

    fn directory(&self, path: &str) -> &Self {
        fs::create_dir_all(self.root.path().join(path)).unwrap();
        self
    }

    /// A link, relative as in sysfs.
    fn link(&self, path: &str, to: &str) -> &Self {
        let up = "../".repeat(path.matches('/').count());
        let at = self.root.path().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        self.directory(to);
        symlink(format!("{up}{to}"), at).unwrap();
        self
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let at = self.root.path().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
        self
    }

    /// A device on the bus, bound to a driver.
    fn device(&self, place: &str, name: &str, driver: Option<&str>) -> &Self {
        self.link(&format!("sys/bus/vdpa/devices/{name}"), &format!("{place}/{name}"));
        if let Some(driver) = driver {
            let driver = format!("sys/bus/vdpa/drivers/{driver}");
            self.link(&format!("{place}/{name}/driver"), &driver);
        }
        self
    }

    /// A virtual function below a physical one, which is the third of it.
    fn functions(&self) -> &Self {
        self.link("sys/bus/pci/devices/0000:01:00.0", PF)
            .link("sys/bus/pci/devices/0000:01:00.2", VF)
            .link(&format!("{VF}/subsystem"), "sys/bus/pci")
            .link(&format!("{VF}/physfn"), PF)
            .link(&format!("{PF}/virtfn0"), "sys/devices/pci0000:00/0000:00:03.0/0000:01:00.1")
            .link(&format!("{PF}/virtfn12"), VF)
    }
}

fn vf() -> PciAddress {
    "0000:01:00.2".parse().unwrap()
}

#[test]
fn machine_without_the_bus_has_no_devices() {
    assert_eq!(Tree::new().discovery().devices().unwrap(), []);
}

#[test]
fn device_of_a_virtual_function_is_found_by_its_address_and_number() {
    let tree = Tree::new();
    tree.functions()
        .device(VF, "any", Some("vhost_vdpa"))
        .directory(&format!("{VF}/any/vhost-vdpa-x"))
        .directory(&format!("{VF}/any/vhost-vdpa-3"))
        .link("sys/dev/char/245:3", &format!("{VF}/any/vhost-vdpa-3"))
        .device("sys/devices", "sim0", None);
    let found = FoundDevice {
        name: "any".to_owned(),
        driver: Some("vhost_vdpa".to_owned()),
        node: Some(tree.root.path().join("dev/vhost-vdpa-3")),
        management: Some("pci/0000:01:00.2".to_owned()),
        pci: Some(vf()),
    };
    let discovery = tree.discovery();
    assert_eq!(discovery.by_pci(vf()).unwrap(), std::slice::from_ref(&found));
    assert_eq!(discovery.by_pci("0000:01:00.0".parse().unwrap()).unwrap(), []);
    assert_eq!(discovery.by_name("any").unwrap(), Some(found.clone()));
    assert_eq!(discovery.by_number(245, 3), Some(found));
    assert_eq!(discovery.by_number(245, 4), None);
    let names: Vec<_> = discovery.devices().unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["any", "sim0"]);
}

#[test]
fn device_without_its_driver_says_what_gives_it_a_node() {
    let tree = Tree::new();
    tree.device("sys/devices", "a", None).device("sys/devices", "b", Some("virtio_vdpa"));
    let devices = tree.discovery().devices().unwrap();
    assert_eq!((&devices[0].node, &devices[0].management, devices[0].pci), (&None, &None, None));
    let hints: Vec<_> = devices.iter().filter_map(FoundDevice::hint).collect();
    assert!(hints[0].contains("modprobe vhost_vdpa"), "{hints:?}");
    assert!(hints[1].contains("/sys/bus/vdpa/drivers/virtio_vdpa/unbind"), "{hints:?}");
}

#[test]
fn devices_of_sub_functions_and_of_user_space_name_what_manages_them() {
    let tree = Tree::new();
    let (sub, user) = (format!("{PF}/mlx5_core.sf.4"), "sys/devices/virtual/vduse/disk");
    tree.device(&sub, "sf", None)
        .link(&format!("{sub}/subsystem"), "sys/bus/auxiliary")
        .device(user, "disk", None)
        .link(&format!("{user}/subsystem"), "sys/class/vduse");
    let devices = tree.discovery().devices().unwrap();
    assert_eq!(devices[0].management.as_deref(), Some("vduse"));
    assert_eq!(devices[0].pci, None);
    assert_eq!(devices[1].management.as_deref(), Some("auxiliary/mlx5_core.sf.4"));
    assert_eq!(devices[1].pci, Some("0000:01:00.0".parse().unwrap()));
}

#[test]
fn device_that_vanishes_meanwhile_is_left_out() {
    let tree = Tree::new();
    tree.device("sys/devices", "a", None);
    let nowhere = tree.root.path().join("sys/bus/vdpa/devices/b");
    symlink("../../../devices/b", nowhere).unwrap();
    assert_eq!(tree.discovery().devices().unwrap().len(), 1);
}

#[test]
fn interface_of_the_physical_function_is_its_own_or_that_of_any_virtio_device_below() {
    let physical = |net: &str| {
        let tree = Tree::new();
        tree.functions().directory(net);
        tree.discovery().physical_function(vf())
    };
    for net in ["net/eth7", "virtio4/net/eth7", "virtio113/net/eth7"] {
        let found = physical(&format!("{PF}/{net}")).unwrap();
        assert_eq!(found.interface.as_deref(), Some("eth7"), "{net}");
        assert_eq!((found.address.to_string().as_str(), found.index), ("0000:01:00.0", Some(12)));
    }
    assert_eq!(physical(&format!("{PF}/virtio4/block")).unwrap().interface, None);
}

#[test]
fn function_that_is_not_virtual_or_not_there_has_no_physical_one() {
    let tree = Tree::new();
    tree.functions();
    let discovery = tree.discovery();
    assert_eq!(discovery.physical_function("0000:01:00.0".parse().unwrap()), None);
    assert_eq!(discovery.physical_function("0000:02:00.0".parse().unwrap()), None);
}

#[test]
fn iovas_that_the_iommu_keeps_are_read_and_nonsense_is_passed_over() {
    let tree = Tree::new();
    let group = "sys/kernel/iommu_groups/8";
    tree.functions().link(&format!("{VF}/iommu_group"), group).file(
        &format!("{group}/reserved_regions"),
        "0x00000000000a0000 0x00000000000bffff direct-relaxable\n\
         0x00000000fee00000 0x00000000feefffff msi\nnonsense\n0x5 0x4 msi\n\
         0x00000000ffff0000 0x00000000ffffffff reserved\n",
    );
    let kept = tree.discovery().reserved_iovas(vf());
    assert_eq!(kept, [0xfee0_0000..=0xfeef_ffff, 0xffff_0000..=0xffff_ffff]);
}

#[test]
fn virtual_network_functions_under_vfio_pci_are_found_and_no_others() {
    let tree = Tree::new();
    assert_eq!(tree.discovery().vfio_functions().unwrap(), []);
    let driver = "sys/bus/pci/drivers/vfio-pci";
    let function = |number: u8, device: &str, is_virtual: bool| {
        let name = format!("0000:01:00.{number}");
        let place = format!("sys/devices/pci0000:00/0000:00:03.0/{name}");
        tree.link(&format!("sys/bus/pci/devices/{name}"), &place)
            .link(&format!("{driver}/{name}"), &place)
            .file(&format!("{place}/vendor"), "0x1af4\n")
            .file(&format!("{place}/device"), device);
        if is_virtual {
            tree.link(&format!("{place}/physfn"), PF);
        }
    };
    tree.file(&format!("{driver}/new_id"), "").directory(&format!("{driver}/module"));
    function(3, "0x1041\n", true);
    function(2, "0x1041\n", true);
    // A disk, and a function that is not virtual.
    function(4, "0x1042\n", true);
    function(5, "0x1041\n", false);
    let found = tree.discovery().vfio_functions().unwrap();
    let names: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["0000:01:00.2", "0000:01:00.3"]);
}
