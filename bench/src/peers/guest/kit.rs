//! What is where in the kit that guests are started from.

use crate::peers::kit::Kit;
use std::path::PathBuf;

pub(in crate::peers) const KIT: Kit = Kit {
    step: "guest-kit",
    variable: "RINGPORT_GUEST_KIT",
    recipe: concat!(
        include_str!("../../../guest/debian.sh"),
        include_str!("../../../guest/kit.sh"),
        include_str!("../../../guest/init")
    ),
};

/// A complete kit, made by this recipe.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    /// The error says why there is none.
    pub(super) fn find() -> Result<Self, String> {
        KIT.find().map(|directory| Self { directory })
    }

    pub(super) fn qemu(&self) -> PathBuf {
        self.directory.join("qemu/usr/bin/qemu-system-x86_64")
    }

    pub(super) fn libraries(&self) -> PathBuf {
        self.directory.join("qemu/usr/lib/x86_64-linux-gnu")
    }

    /// Directories with the firmware that QEMU loads.
    pub(super) fn firmware(&self) -> [PathBuf; 2] {
        ["qemu", "seabios"].map(|name| self.directory.join("qemu/usr/share").join(name))
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    pub(super) fn initramfs(&self) -> PathBuf {
        self.directory.join("initramfs.gz")
    }
}
