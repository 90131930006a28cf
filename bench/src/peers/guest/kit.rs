//! Where `./ci.sh guest-kit` has put what guests are started from.

use std::path::PathBuf;

/// What a kit is made by. One that was made by anything else may lack what tests rely on.
const RECIPE: &str =
    concat!(include_str!("../../../guest/kit.sh"), include_str!("../../../guest/init"));

/// A complete kit, made by this recipe.
#[derive(Debug)]
pub(super) struct Kit {
    directory: PathBuf,
}

impl Kit {
    /// Looks in `RINGPORT_GUEST_KIT`, else in the user's cache; the error says why there is none.
    pub(super) fn find() -> Result<Self, String> {
        Self::at(directory().ok_or("neither RINGPORT_GUEST_KIT nor HOME is set")?)
    }

    fn at(directory: PathBuf) -> Result<Self, String> {
        let advice = "run ./ci.sh guest-kit";
        match std::fs::read(directory.join("recipe")) {
            Ok(recipe) if recipe == RECIPE.as_bytes() => Ok(Self { directory }),
            Ok(_) => Err(format!("{} is of another version: {advice}", directory.display())),
            Err(_) => Err(format!("there is none in {}: {advice}", directory.display())),
        }
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

/// As `bench/guest/kit.sh` has it.
fn directory() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("RINGPORT_GUEST_KIT").or_else(|| {
        let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
        Some(cache.join("ringport/guest-kit"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kit_that_this_recipe_made_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let found = || Kit::at(dir.path().to_owned()).map(drop);
        assert!(found().unwrap_err().contains("there is none"));
        std::fs::write(dir.path().join("recipe"), RECIPE.replace("6.12", "6.1")).unwrap();
        assert!(found().unwrap_err().contains("another version: run ./ci.sh guest-kit"));
        std::fs::write(dir.path().join("recipe"), RECIPE).unwrap();
        found().unwrap();
    }
}
