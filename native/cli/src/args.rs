//! What may stand on the command line. `build.rs` makes the man pages and the shells' completions of it, so nothing of the
//! program's own is in here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// How many connections wait to be accepted, how long, and how many have left: the accept queues of this machine, as the
/// kernel counts them.
#[derive(Debug, Parser)]
#[command(name = "accept-queue", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The listeners of the BEAMs of this machine, and who stands in front of them
    List(ListOptions),
    /// What changes: listeners that come and go, and what is wrong with them, as it begins and ends
    Watch(WatchOptions),
    /// Metrics for Prometheus, over HTTP
    Export(ExportOptions),
    /// The completions of a shell, on standard output
    Completions(CompletionsOptions),
    /// A manual page, on standard output, or all of them as files
    Man(ManOptions),
}

/// Whose listeners. Every BEAM's, where nothing is said.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct ScopeOptions {
    /// Only this process, whatever it runs
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    /// Only the BEAM that runs this node, with or without its host
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Only this TCP port of this network namespace, whoever owns it
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Every process, not only those that run a BEAM
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  accept-queue list                every BEAM
  accept-queue list --pid 4711     one process, whatever it runs
  accept-queue list --all --json   every process, for a program")]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A condition is raised once and cleared once: behind, overflowing, stuck, abandoned, leaking. A listener, or a \
whole VM, may come and go meanwhile; with --pid the end of that process is the end of the watch.

Examples:
  accept-queue watch                                 every BEAM, until Ctrl-C
  accept-queue watch --port 8080 --samples           each reading of one port
  accept-queue watch --node shop --json | jq -c 'select(.event == \"raised\")'
  accept-queue watch --all --for 1m >/dev/null       only the summary: how deep was the worst queue?"
)]
pub(crate) struct WatchOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// How often to read
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = interval)]
    pub(crate) interval: Duration,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) lasting: Option<Duration>,
    /// End after so many samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Every sample too, not only what changes
    #[arg(long)]
    pub(crate) samples: bool,
    /// One JSON object a line, samples too
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Whoever can reach the address can read the figures, so it is this machine's own unless another is named.

Examples:
  accept-queue export                                  every BEAM, on http://127.0.0.1:9700/metrics
  accept-queue export --all --listen '[::1]:9701'      every process
  accept-queue export --node shop --listen 0.0.0.0:9700"
)]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// Where to listen; port 0 takes any that is free, and says which
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9700")]
    pub(crate) listen: String,
    /// How often to read between two scrapes
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = interval)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(accept-queue completions bash)
  accept-queue completions zsh >/usr/share/zsh/vendor-completions/_accept-queue
  accept-queue completions fish >~/.config/fish/completions/accept-queue.fish")]
pub(crate) struct CompletionsOptions {
    pub(crate) shell: Shell,
}

/// Whoever completes.
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
    /// Of which command; of the whole where none is named
    pub(crate) command: Option<String>,
    /// Every page, as files in this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub(crate) into: Option<PathBuf>,
}

/// A time such as 250ms, 5s, 1m30s.
fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("a time has a number and a unit, as 100ms, 5s or 1m30s, and is not 0".to_owned()),
    }
}

/// A time between two readings.
fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if (Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&time) => Ok(time),
        _ => Err("what is read again and again is read every 10ms to 1h".to_owned()),
    }
}
