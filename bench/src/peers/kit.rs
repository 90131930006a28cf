//! Where `./ci.sh guest-kit` and `./ci.sh vdpa-kit` have put what virtual machines are started from.

use std::path::{Path, PathBuf};

/// A kind of kit, and how one is told from those that an older or a newer recipe made.
#[derive(Debug, Clone, Copy)]
pub struct Kit {
    /// The step of `./ci.sh` that makes it, which is also its name in `ringport` in the user's cache.
    pub step: &'static str,
    /// The variable of the environment that says where it is instead.
    pub variable: &'static str,
    /// What the kit is made by, as its file `recipe` has it. One that was made by anything else may lack what
    /// tests rely on.
    pub recipe: &'static str,
}

impl Kit {
    /// The directory of a complete kit that was made by this recipe, for root, as whom machines are started.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub fn find(&self) -> Result<PathBuf, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("not root".to_owned());
        }
        let directory = self.directory();
        self.at(directory.ok_or_else(|| format!("neither {} nor HOME is set", self.variable))?)
    }

    fn at(&self, directory: PathBuf) -> Result<PathBuf, String> {
        let (shown, advice) = (directory.display(), format!("run ./ci.sh {}", self.step));
        match std::fs::read(directory.join("recipe")) {
            Ok(recipe) if recipe == self.recipe.as_bytes() => Ok(directory),
            Ok(_) => Err(format!("{shown} is of another version: {advice}")),
            Err(_) => Err(format!("there is none in {shown}: {advice}")),
        }
    }

    /// As the recipe has it.
    fn directory(&self) -> Option<PathBuf> {
        let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        of(self.variable).or_else(|| {
            let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
            Some(cache.join(Path::new("ringport").join(self.step)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kit_that_this_recipe_made_is_taken() {
        let kit = Kit { step: "some-kit", variable: "RINGPORT_SOME_KIT", recipe: "kernel 6.12" };
        let dir = tempfile::tempdir().unwrap();
        let found = || kit.at(dir.path().to_owned());
        assert!(found().unwrap_err().contains("there is none"));
        std::fs::write(dir.path().join("recipe"), "kernel 6.1").unwrap();
        assert!(found().unwrap_err().contains("another version: run ./ci.sh some-kit"));
        std::fs::write(dir.path().join("recipe"), kit.recipe).unwrap();
        assert_eq!(found().unwrap(), dir.path());
    }
}
