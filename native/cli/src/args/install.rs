//! What belongs to an installation: manual pages and shell completions.

use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueEnum};

use super::Arguments;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(accept-queue completions bash)
  accept-queue completions zsh >/usr/share/zsh/vendor-completions/_accept-queue
  accept-queue completions fish >~/.config/fish/completions/accept-queue.fish")]
pub(crate) struct CompletionsOptions {
    pub(crate) shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Zsh,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  accept-queue man watch | man -l -
  accept-queue man --into /usr/local/share/man/man1")]
pub(crate) struct ManOptions {
    /// The command; without one, the page of the program
    #[arg(value_parser = command)]
    pub(crate) command: Option<String>,
    /// Write every page to a file in this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub(crate) into: Option<PathBuf>,
}

/// One that has a page.
fn command(text: &str) -> Result<String, String> {
    let program = Arguments::command();
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<_> = shown.map(clap::Command::get_name).collect();
    names.contains(&text).then(|| text.to_owned()).ok_or_else(|| format!("there are {}", names.join(", ")))
}
