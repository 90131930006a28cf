//! A machine that runs one test.

use super::{Inside, Tier};
use ringport_bench::peers::CommandGuard;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take to boot. It takes 5 s when it has a core.
const BOOT: Duration = Duration::from_secs(180);
/// How long a test may take in it.
const TEST: Duration = Duration::from_secs(300);

/// What the kernel is told: to say little, to leave out what takes an emulated CPU long, not to give up when
/// its timer is late, not to go on after a bug of its own, and to use the IOMMU if there is one.
const KERNEL: &str = "console=ttyS0 quiet panic=-1 oops=panic no_timer_check mitigations=off nokaslr \
                      cryptomgr.notests intel_iommu=on";

/// Variables that the test there is to have as here: these, and all that begin so.
const VARIABLES: [&str; 3] = ["PATH", "HOME", "LANG"];
const PREFIXES: [&str; 3] = ["RUST_", "RINGPORT_", "PROPTEST_"];

/// How a test in a machine went.
pub(super) struct Outcome {
    /// How long the machine took until it ran the test.
    pub(super) booted: Duration,
    /// How long the test took; or what went wrong.
    pub(super) ended: Result<Duration, String>,
    /// What the test printed.
    pub(super) output: String,
}

pub(super) struct Machine<'a> {
    kit: &'a Path,
    tier: Tier,
    /// The one directory that the machine and we both write to. It is at the same place there.
    shared: TempDir,
}

impl<'a> Machine<'a> {
    pub(super) fn new(kit: &'a Path, tier: Tier) -> Self {
        let shared = tempfile::Builder::new().prefix("ringport-lab-").tempdir().unwrap();
        Self { kit, tier, shared }
    }

    /// Boots, runs `test` of this very program there, and ends.
    pub(super) fn run(&self, test: &str) -> Outcome {
        std::fs::write(self.shared.path().join("run"), self.script(test)).unwrap();
        let start = Instant::now();
        let mut process = CommandGuard::spawn("the machine", &mut self.command()).unwrap();
        process.wait_for_line("lab: booted in", BOOT).unwrap_or_else(|error| panic!("{error}"));
        let booted = start.elapsed();
        let ended = process.wait_end(TEST).unwrap();
        let took = start.elapsed() - booted;
        // It is asked to no purpose, and killed.
        process.stop_within(Duration::ZERO).unwrap();
        self.pass_skips_on();
        let console = process.log();
        let ended = match (ended, self.read("status").trim()) {
            (None, _) => Err(format!("not done after {TEST:?}; its console says:\n{console}")),
            (Some(_), "0") if self.read(Inside::MARK).is_empty() => {
                Err(format!("no test of the name {test} is there: give its modules too"))
            }
            (Some(_), "0") => Ok(took),
            (Some(how), "") => Err(format!("it ended early ({how}); its console says:\n{console}")),
            (Some(_), status) => Err(format!("exit code {status}")),
        };
        Outcome { booted, ended, output: self.read("output") }
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.shared.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Tests that the machine had to skip count as any others.
    fn pass_skips_on(&self) {
        let skipped = self.read("skipped");
        if let Some(log) = std::env::var_os("RINGPORT_SKIP_LOG").filter(|_| !skipped.is_empty()) {
            let mut file = std::fs::File::options().create(true).append(true).open(log).unwrap();
            std::io::Write::write_all(&mut file, skipped.as_bytes()).unwrap();
        }
    }

    /// A shell's script that runs the test as it was run here, with some programs more.
    fn script(&self, test: &str) -> String {
        let shared = self.shared.path().display().to_string();
        let mut script = String::new();
        let mut export = |name: &str, value: &str| {
            writeln!(script, "export {name}={}", quoted(value)).unwrap();
        };
        for (name, value) in std::env::vars() {
            let is_wanted = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            if is_wanted || VARIABLES.contains(&&*name) {
                export(&name, &value);
            }
        }
        export(Inside::VARIABLE, &shared);
        export("RINGPORT_SKIP_LOG", &format!("{shared}/skipped"));
        let [program, directory] = [std::env::current_exe(), std::env::current_dir()]
            .map(|path| quoted(path.unwrap().to_str().unwrap()));
        let test = quoted(test);
        let more = quoted(&format!(":/usr/sbin:/sbin:{}/bin", self.kit.display()));
        writeln!(script, "PATH=$PATH{more}").unwrap();
        writeln!(
            script,
            "cd {directory} && exec {program} --exact {test} --nocapture --include-ignored"
        )
        .unwrap();
        script
    }

    fn command(&self) -> Command {
        let qemu = self.kit.join("qemu/usr");
        let libraries = qemu.join("lib/x86_64-linux-gnu");
        // It is of a newer Debian than the host, and so is the C library that it needs.
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(qemu.join("bin/qemu-system-x86_64"));
        for name in ["qemu", "seabios"] {
            command.arg("-L").arg(qemu.join("share").join(name));
        }
        command.arg("-kernel").arg(self.kit.join("vmlinux"));
        command.arg("-initrd").arg(self.kit.join("initramfs.gz"));
        command.args(self.arguments());
        command
    }

    /// Its second serial line leads to its own monitor.
    fn arguments(&self) -> Vec<OsString> {
        let [kit, shared] = [self.kit, self.shared.path()].map(|path| path.to_str().unwrap());
        assert!(
            !kit.contains([' ', ',']),
            "{kit}: RINGPORT_VDPA_KIT must have no blank and no comma"
        );
        let mut text = format!(
            "-machine q35,kernel-irqchip=split -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
             -nodefaults -no-user-config -display none -serial stdio -no-reboot -device virtio-rng-pci \
             -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
             -device virtio-9p-pci,fsdev=host,mount_tag=host \
             -fsdev local,id=lab,path={shared},security_model=none \
             -device virtio-9p-pci,fsdev=lab,mount_tag=lab \
             -chardev socket,id=monitor,path={shared}/monitor,server=on,wait=off -mon chardev=monitor \
             -chardev socket,id=told,path={shared}/monitor -serial chardev:told"
        );
        text.push_str(&devices(self.tier));
        let mut all: Vec<OsString> = text.split_whitespace().map(Into::into).collect();
        all.extend(["-append".into(), format!("{KERNEL} lab={shared} kit={kit}").into()]);
        all
    }
}

/// The devices of a tier, for QEMU.
fn devices(tier: Tier) -> String {
    const IOMMU: &str = " -device intel-iommu,intremap=on,caching-mode=on";
    // A function whose rings are translated, with a doorbell page for each.
    const TRANSLATED: &str = "iommu_platform=on,page-per-vq=on";
    match tier {
        Tier::T1 => String::new(),
        Tier::T2 => {
            let first = nic(0, &format!("addr=0x10,{TRANSLATED}"));
            format!("{IOMMU}{first}{}", nic(1, "addr=0x11"))
        }
        Tier::T3 => {
            let mut text = format!("{IOMMU} -device pcie-root-port,id=root,slot=1,chassis=1");
            // QEMU wants the physical function last.
            for number in (1..=3).rev() {
                let virtual_function =
                    format!("bus=root,addr=0x0.0x{number},sriov-pf=pf,packed=on,{TRANSLATED}");
                text.push_str(&nic(number, &virtual_function));
            }
            text + &nic(0, &format!("bus=root,addr=0x0.0x0,id=pf,{TRANSLATED}"))
        }
    }
}

/// A virtio 1 network device on the wire, with the address 02:00:00:00:00:NUMBER.
fn nic(number: u8, properties: &str) -> String {
    format!(
        " -netdev hubport,hubid=0,id=wire{number} -device virtio-net-pci,netdev=wire{number},\
         mac=02:00:00:00:00:{number:02x},disable-legacy=on,romfile=,{properties}"
    )
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
