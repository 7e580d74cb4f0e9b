//! What may stand on the command line.

use std::time::Duration;

use accept_queue_core::outside::Scope;
use clap::{Args, Parser, Subcommand};

/// How many connections wait to be accepted, how long, and how many have left: the accept queues of this machine, as the
/// kernel counts them.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The listeners of the BEAMs of this machine, and who stands in front of them
    List(ListOptions),
    /// Why a BEAM does not accept: findings, the strongest first, each with its evidence and what to do
    Diagnose(DiagnoseOptions),
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

impl ScopeOptions {
    pub(crate) fn scope(&self) -> Scope {
        match self {
            ScopeOptions { pid: Some(pid), .. } => Scope::Process(*pid),
            ScopeOptions { node: Some(node), .. } => Scope::Node(node.clone()),
            ScopeOptions { port: Some(port), .. } => Scope::Port(*port),
            ScopeOptions { all: true, .. } => Scope::Everybody,
            ScopeOptions { .. } => Scope::Beams,
        }
    }
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
#[command(after_help = "The VM is only looked at, through /proc and the kernel's tables of sockets: it is never stopped, attached to or
signalled. Run as root (or as its user; CAP_SYS_PTRACE shows where its threads stand).

Exit status: 0 healthy, 1 the process could not be looked at, 2 a mistake on the command line, 3 something is wrong,
4 nothing was found, but not all could be seen.

Examples:
  accept-queue diagnose --pid 4711
  accept-queue diagnose --pid 4711 --for 10s --json")]
pub(crate) struct DiagnoseOptions {
    /// The process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: i32,
    /// How long to look, from 100ms to 10m; what hangs shorter than 1s is no hang
    #[arg(long = "for", value_name = "TIME", default_value = "2s", value_parser = window)]
    pub(crate) window: Duration,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `250ms`, `2s`, `1m`.
fn window(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number = text.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok());
    let duration = match (number, unit) {
        (Some(number), "ms") => Some(Duration::from_millis(number.into())),
        (Some(number), "s") => Some(Duration::from_secs(number.into())),
        (Some(number), "m") => Some(Duration::from_secs(u64::from(number) * 60)),
        _ => None,
    };
    duration
        .filter(|duration| (Duration::from_millis(100)..=Duration::from_secs(600)).contains(duration))
        .ok_or_else(|| "a time from 100ms to 10m, such as 500ms, 2s or 1m".to_owned())
}
