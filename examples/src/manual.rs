//! `ringport completions` and `ringport man`: what a package of the tool installs beside it, from the
//! same description as `--help`.

use crate::Cli;
use anyhow::Context;
#[cfg(test)]
use clap::Command;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Example: ringport completions bash > /usr/share/bash-completion/completions/ringport")]
pub(crate) struct CompletionOptions {
    /// Shell that reads them
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
One page for the tool and one for each subcommand: ringport.1, ringport-ping.1 and so on.

Example: ringport man /usr/share/man/man1")]
pub(crate) struct ManOptions {
    /// Directory that is there
    directory: PathBuf,
}

/// Writes completions to stdout.
pub(crate) fn completions(options: &CompletionOptions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "ringport", &mut script);
    io::stdout().write_all(&script).context("cannot write to stdout")
}

/// Writes the manual's pages to files.
pub(crate) fn man(options: &ManOptions) -> anyhow::Result<()> {
    let directory = &options.directory;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("cannot write to {}", directory.display()))
}

/// Names of the pages: of a command, and of those below it that are not hidden.
#[cfg(test)]
fn pages(command: &Command, name: &str) -> Vec<String> {
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
    let below = shown.flat_map(|it| pages(it, &format!("{name}-{}", it.get_name())));
    std::iter::once(format!("{name}.1")).chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn there_is_a_page_for_each_command_with_its_examples() {
        let dir = tempfile::tempdir().unwrap();
        man(&ManOptions { directory: dir.path().to_owned() }).unwrap();
        let mut expected = pages(&Cli::command(), "ringport");
        expected.sort();
        let found = fs::read_dir(dir.path()).unwrap();
        let mut found: Vec<String> =
            found.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, expected);
        assert!(found.contains(&"ringport-pktgen-send.1".to_owned()), "{found:?}");
        let ping = fs::read_to_string(dir.path().join("ringport-ping.1")).unwrap();
        assert!(ping.contains("Examples:") && ping.contains("interval"), "{ping}");
    }

    #[test]
    fn pages_that_cannot_be_written_are_an_error_with_the_directory() {
        let options = ManOptions { directory: "/nonexistent/man".into() };
        assert!(man(&options).unwrap_err().to_string().contains("/nonexistent/man"));
    }

    #[test]
    fn completions_of_every_shell_know_every_command() {
        let names: Vec<String> = Cli::command()
            .get_subcommands()
            .filter(|it| !it.is_hide_set())
            .map(|it| it.get_name().to_owned())
            .collect();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ringport", &mut script);
            let script = String::from_utf8(script).unwrap();
            let missing = names.iter().find(|name| !script.contains(name.as_str()));
            assert_eq!(missing, None, "{shell}");
        }
    }
}
