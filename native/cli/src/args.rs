//! What may stand on the command line.

use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::check::Limits;
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
    /// One line and an exit status for a monitoring system: 0 ok, 1 warning, 2 critical, 3 unknown
    Check(CheckOptions),
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

    /// Why nothing was read.
    pub(crate) fn refused(&self, error: Error) -> String {
        match (error, self.scope()) {
            (Error::NotFound, Scope::Process(pid)) => format!("there is no process {pid}"),
            (Error::NotFound, Scope::Node(node)) => format!("no BEAM runs a node {}", node.escape_debug()),
            (error, _) => format!("the kernel's sockets could not be read: {error}"),
        }
    }

    /// What it means that there is no listener.
    pub(crate) fn nobody(&self) -> String {
        match self.scope() {
            Scope::Process(pid) => format!("process {pid} has no listener"),
            Scope::Node(node) => format!("no listener of a node {}", node.escape_debug()),
            Scope::Port(port) => format!("nobody listens on port {port}"),
            Scope::Beams => "no BEAM has a listener".to_owned(),
            Scope::Everybody => "nobody listens".to_owned(),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 where everything asked for was found; 1 where the process, node or port is not there, or nothing could be
read; 2 for a wrong command line.

Examples:
  accept-queue list                every BEAM
  accept-queue list --pid 4711     one process, whatever it runs
  accept-queue list --all --json   every process, for a program"
)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Critical is a listener that overflows (full throughout the samples, or clients turned away meanwhile), or that is stuck
(clients wait, and none was accepted during all of the samples, if they span a second or more). A warning is one that is
behind --max-wait throughout the samples, filled beyond --max-fill at each of them, whose clients leave before they are
accepted, or that holds more than 1000 connections that their clients have closed. Unknown is what could not be read, and a
port, process or node without a listener. A burst that drains between two samples is no alarm; with --samples 1 there is no
telling a burst from a queue that stands but by --max-wait, the answer comes at once, and full is critical.

Examples:
  accept-queue check                                    every BEAM, over a second
  accept-queue check --node shop --max-wait 500ms
  accept-queue check --port 8080 --samples 1            a container's readiness probe
  accept-queue check --port 8080 --samples 21           over five seconds"
)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// Nobody should wait longer than this
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub(crate) max_wait: Duration,
    /// No more of the limit should be taken than this part
    #[arg(long, value_name = "PERCENT", default_value = "50%", value_parser = share)]
    pub(crate) max_fill: f64,
    /// How often to look
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub(crate) samples: u32,
    /// The time between two looks, 10ms to 500ms
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = check_interval)]
    pub(crate) interval: Duration,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl CheckOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits { max_wait: self.max_wait, max_fill: self.max_fill }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<u8>().ok());
    percent
        .filter(|percent| (1..=100).contains(percent))
        .map(|percent| f64::from(percent) / 100.0)
        .ok_or_else(|| "a share is 1% to 100%, in whole percents".to_owned())
}

/// Beyond this the detector takes two samples for having a sleep between them.
fn check_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(10)..=Duration::from_millis(500);
    allowed
        .contains(&interval)
        .then_some(interval)
        .ok_or_else(|| "the time between two looks is 10ms to 500ms".to_owned())
}

#[derive(Debug, Args)]
#[command(
    after_help = "The VM is only looked at, through /proc and the kernel's tables of sockets: it is never stopped, attached to or
signalled. Run as root, or as its user; CAP_SYS_PTRACE shows where its threads stand.

Exit status: 0 healthy; 1 the process could not be looked at; 2 for a wrong command line; 3 something is wrong; 4 nothing was
found, but not all could be seen.

Examples:
  accept-queue diagnose --pid 4711
  accept-queue diagnose --pid 4711 --for 10s --json"
)]
pub(crate) struct DiagnoseOptions {
    /// The process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: i32,
    /// How long to look, 100ms to 10m; what hangs for less than a second is no hang
    #[arg(long = "for", value_name = "DURATION", default_value = "2s", value_parser = diagnose_window)]
    pub(crate) window: Duration,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn diagnose_window(text: &str) -> Result<Duration, String> {
    let window = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(600);
    allowed.contains(&window).then_some(window).ok_or_else(|| "the time to look is 100ms to 10m".to_owned())
}
