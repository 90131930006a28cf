//! What a test in a machine does to have its devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the kernel may take to make a device, or to give one up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine in which the test runs, as root. Whatever goes wrong here fails the test.
#[derive(Debug)]
pub struct Inside {
    /// The one directory where what is written is the host's, and gone after the test.
    shared: PathBuf,
}

impl Inside {
    /// Where a test finds that it is in a machine: the directory that it shares with the host.
    pub(super) const VARIABLE: &str = "RINGPORT_VDPA_LAB";
    /// The file there by which the host knows that the test ran.
    pub(super) const MARK: &str = "ran";

    /// Whether this is a machine, and not the host.
    pub fn is_here() -> bool {
        std::env::var_os(Self::VARIABLE).is_some()
    }

    /// `None` on the host.
    pub(super) fn here() -> Option<Self> {
        let shared = PathBuf::from(std::env::var_os(Self::VARIABLE)?);
        fs::write(shared.join(Self::MARK), "1").unwrap();
        Some(Self { shared })
    }

    /// Loads modules, with their parameters if they have any: `vhost_vdpa`, `vdpa_sim use_va=0`.
    #[track_caller]
    pub fn load(&self, modules: &[&str]) {
        for module in modules {
            self.sh(&format!("modprobe {module}"));
        }
    }

    /// Runs a line of shell, and returns what it printed. The first command that fails is the last.
    /// `busybox` has those that the host may lack, such as `busybox ping`.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        let output = Command::new("/bin/sh").args(["-ec", line]).output().unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "`{line}`: {}: {out}{err}", output.status);
        out
    }

    /// Asks again and again until there is an answer.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Makes a simulated network device, `name` on the vDPA bus, and returns the node by which
    /// `vhost_vdpa` offers it. It gets back all it sends to `mac` (as `02:00:00:00:00:01`), and to groups.
    #[track_caller]
    pub fn simulator(&self, name: &str, mac: &str) -> PathBuf {
        self.load(&["vhost_vdpa", "vdpa_sim_net"]);
        self.sh(&format!("vdpa dev add mgmtdev vdpasim_net name {name} mac {mac}"));
        self.node(name)
    }

    /// Gives a virtio function to `vp_vdpa`, makes a vDPA device `name` of it, and returns the node by
    /// which `vhost_vdpa` offers it. `address` is that of the function, as `0000:00:10.0`.
    #[track_caller]
    pub fn vp_vdpa(&self, name: &str, address: &str) -> PathBuf {
        self.load(&["vhost_vdpa", "vp_vdpa"]);
        self.bind(address, "vp-vdpa");
        self.sh(&format!("vdpa dev add mgmtdev pci/{address} name {name}"));
        self.node(name)
    }

    /// Gives a function to `vfio-pci`, and returns the node of its group.
    #[track_caller]
    pub fn vfio(&self, address: &str) -> PathBuf {
        self.load(&["vfio_iommu_type1", "vfio-pci"]);
        self.bind(address, "vfio-pci");
        let group = fs::read_link(function(address).join("iommu_group")).unwrap();
        let node = Path::new("/dev/vfio").join(group.file_name().unwrap());
        self.wait_for("a node in /dev/vfio", || node.exists().then(|| node.clone()))
    }

    /// Makes `count` virtual functions of the machine's physical one, without drivers, and returns their
    /// addresses. The physical one is an interface, which is up.
    #[track_caller]
    pub fn virtual_functions(&self, count: usize) -> Vec<String> {
        self.load(&["virtio_net"]);
        let physical = self.physical_function();
        for interface in self.interfaces(&physical) {
            self.sh(&format!("ip link set {interface} up"));
        }
        let directory = function(&physical);
        fs::write(directory.join("sriov_drivers_autoprobe"), "0").unwrap();
        fs::write(directory.join("sriov_numvfs"), count.to_string()).unwrap();
        let link = |number| fs::read_link(directory.join(format!("virtfn{number}"))).unwrap();
        (0..count).map(|number| name_of(&link(number))).collect()
    }

    /// The address of the first function that can have virtual ones.
    #[track_caller]
    pub fn physical_function(&self) -> String {
        let functions =
            fs::read_dir("/sys/bus/pci/devices").unwrap().map(|entry| entry.unwrap().path());
        let found = functions.into_iter().find(|path| path.join("sriov_totalvfs").exists());
        name_of(&found.unwrap())
    }

    /// Names of the network interfaces of a virtio function. A virtio device's are not at the function
    /// but at the device below it, whose number is arbitrary.
    #[track_caller]
    pub fn interfaces(&self, address: &str) -> Vec<String> {
        let devices = fs::read_dir(function(address)).unwrap().map(|entry| entry.unwrap().path());
        let networks = devices.filter(|path| name_of(path).starts_with("virtio"));
        let entries =
            networks.flat_map(|path| fs::read_dir(path.join("net")).into_iter().flatten());
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Takes a function from the driver that has it, if one has, and gives it to another.
    #[track_caller]
    pub fn bind(&self, address: &str, driver: &str) {
        let directory = function(address);
        let bound = || fs::read_link(directory.join("driver")).ok().map(|link| name_of(&link));
        fs::write(directory.join("driver_override"), driver).unwrap();
        if bound().is_some_and(|other| other != driver) {
            fs::write(directory.join("driver/unbind"), address).unwrap();
        }
        fs::write("/sys/bus/pci/drivers_probe", address).unwrap();
        assert_eq!(bound().as_deref(), Some(driver), "{address}");
    }

    /// Takes the carrier from the machine's network device `number` (of a virtual function: of its address), or
    /// gives it back: as if somebody pulled its plug.
    #[track_caller]
    pub fn set_carrier(&self, number: usize, up: bool) {
        let word = if up { "on" } else { "off" };
        // What is in the line already is none of it.
        self.sh(&format!(
            "stty -F /dev/ttyS1 raw -echo; printf '\\nset_link wire{number} {word}\\n' >/dev/ttyS1"
        ));
    }

    /// The node of a vDPA device that `vhost_vdpa` has.
    #[track_caller]
    pub fn node(&self, name: &str) -> PathBuf {
        let directory = Path::new("/sys/bus/vdpa/devices").join(name);
        self.wait_for(&format!("the node of {name}"), || {
            let entries = fs::read_dir(&directory)
                .ok()?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let node = entries.into_iter().find(|entry| entry.starts_with("vhost-vdpa-"))?;
            Some(Path::new("/dev").join(node)).filter(|node| node.exists())
        })
    }
}

fn function(address: &str) -> PathBuf {
    Path::new("/sys/bus/pci/devices").join(address)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
