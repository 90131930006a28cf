//! The library as users have it: installed by `install.sh`, found by their compiler.

use ringport_bench::peers::{find_program, skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use tempfile::TempDir;

/// The library, installed to a directory of its own.
#[derive(Debug)]
pub struct Library {
    prefix: TempDir,
}

impl Library {
    /// Links and installs what cargo built. `None` where there is no C compiler: `test` is reported as
    /// skipped.
    pub fn install(test: &str) -> Option<Self> {
        find_or_skip(test, "cc")?;
        let prefix = tempfile::tempdir().unwrap();
        let mut install = Command::new(crate_dir().join("install.sh"));
        install.arg("--prefix").arg(prefix.path()).arg("--archive").arg(archive());
        run(&mut install);
        Some(Self { prefix })
    }

    /// The shared library, by the name that linkers look for.
    pub fn shared(&self) -> PathBuf {
        self.directory("lib").join("libringport_memif.so")
    }

    /// A directory below the prefix.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.prefix.path().join(name)
    }

    /// Compiles a program of `examples`, with every warning an error, and links it with the shared library.
    pub fn compile(&self, name: &str) -> PathBuf {
        let lib = self.directory("lib");
        let (find, run) = (format!("-L{}", lib.display()), format!("-Wl,-rpath,{}", lib.display()));
        self.compile_with(name, &[&find, "-lringport_memif", &run])
    }

    /// As [`Self::compile`], with what to link said by `link`.
    pub fn compile_with(&self, name: &str, link: &[&str]) -> PathBuf {
        let program = self.prefix.path().join(name);
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-I"]);
        cc.arg(self.directory("include")).arg("-o").arg(&program);
        cc.arg(crate_dir().join("examples").join(name).with_extension("c"));
        cc.args(link);
        run(&mut cc);
        program
    }
}

/// Finds a program, or reports `test` as skipped.
pub fn find_or_skip(test: &str, program: &str) -> Option<PathBuf> {
    let found = find_program(program);
    if found.is_none() {
        skip(test, &format!("{program} is not installed"));
    }
    found
}

pub fn crate_dir() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Runs a command, which has to succeed, and returns what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The static library that was built with this test: the latest one beside it. (It has a hash in its name,
/// and one without is left by a build of the package alone.)
fn archive() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libringport_memif_c") && name.ends_with(".a")
    };
    let built = [deps, deps.parent().unwrap()].into_iter().flat_map(files).filter(is_ours);
    built.max_by_key(|path| modified(path)).expect("cargo builds it before this test")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
