//! What may stand on the command line. `build.rs` makes the man pages and the shells' completions of it, so nothing of the
//! program's own is in here.

use std::net::{Ipv4Addr, SocketAddr};
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
    /// Why a BEAM does not accept: findings, the strongest first, each with its evidence and what to do
    Diagnose(DiagnoseOptions),
    /// One line and an exit status for a monitoring system: 0 ok, 1 warning, 2 critical, 3 unknown
    Check(CheckOptions),
    /// What changes: listeners that come and go, and what is wrong with them, as it begins and ends
    Watch(WatchOptions),
    /// Keeps what is read in a file, for `report`
    Record(RecordOptions),
    /// One page out of a recording: every queue over time, in a browser
    Report(ReportOptions),
    /// Metrics for Prometheus, over HTTP
    Export(ExportOptions),
    /// The same as a live screen, with what is wrong and who accepts
    Top(TopOptions),
    /// The experiment of 2009: a server that never accepts, and too many clients
    Lab(LabOptions),
    /// The clients of `lab`, which starts them itself
    #[command(hide = true)]
    LabClients(LabClientsOptions),
    /// The completions of a shell, on standard output
    Completions(CompletionsOptions),
    /// A manual page, on standard output, or all of them as files
    Man(ManOptions),
    /// Answers the VM that started it: for `accept_queue_port` only
    #[command(hide = true)]
    Port(PortOptions),
}

#[derive(Debug, Args)]
pub(crate) struct PortOptions {
    /// The pid of the VM that has started this program
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) vm: i32,
    #[command(flatten)]
    pub(crate) watchdog: Option<WatchdogOptions>,
}

/// What `accept_queue_config` has found right.
#[derive(Debug, Args)]
pub(crate) struct WatchdogOptions {
    /// Write down why the VM hangs, in this folder
    #[arg(long = "evidence", value_name = "FOLDER", required = false)]
    pub(crate) directory: PathBuf,
    /// The evidence of so many hangs is kept
    #[arg(long, value_name = "N", required = false)]
    pub(crate) keep: usize,
    /// A heartbeat comes this often
    #[arg(long, value_name = "MS", required = false)]
    pub(crate) heartbeat_ms: u64,
    /// It hangs when none has come for so long
    #[arg(long, value_name = "MS", required = false)]
    pub(crate) hang_after_ms: u64,
}

/// Whose listeners. Every BEAM's, where nothing is said.
#[derive(Debug, Clone, Args)]
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
#[command(after_help = "Examples:
  accept-queue top                     every BEAM
  accept-queue top --all               every process
  accept-queue top --interval 2s       for a slow line
  accept-queue top --port 8080 | cat   a table every half second, without a screen")]
pub(crate) struct TopOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// How often to read
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = interval)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  accept-queue lab                              as on the mailing list in 2009
  accept-queue lab --backlog 5 --clients 10     as with gen_tcp's default
  sudo accept-queue lab --hosts                 between two network namespaces
  sudo accept-queue lab --pcap lab.pcap         with the packets, for Wireshark")]
pub(crate) struct LabOptions {
    /// What the server asks `listen` for
    #[arg(long, value_name = "N", default_value_t = 30, allow_negative_numbers = true)]
    pub(crate) backlog: u16,
    /// How many clients come
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=20_000))]
    pub(crate) clients: u16,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Server and clients in two network namespaces that are made for it, and not both on loopback
    #[arg(long)]
    pub(crate) hosts: bool,
    /// Write the packets of the server's port to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LabClientsOptions {
    /// The first of the addresses that they may come from
    pub(crate) from: Ipv4Addr,
    /// Where the server listens
    pub(crate) server: SocketAddr,
    /// How many
    pub(crate) clients: u16,
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
    after_help = "What is written is whole up to the last sample, whatever ends the program; a later run goes on behind it. A \
quiet queue takes 5 kB an hour. A file that is no recording is refused, and is left as it is.

Exit status: 0 where it has come to its end, also by Ctrl-C or --max-size; 1 where nothing could be read, or not written (a full
disk: what was written before can be read); 2 for a wrong command line.

Examples:
  accept-queue record week.aq                        every BEAM, until Ctrl-C
  accept-queue record night.aq --node shop --for 12h
  accept-queue record all.aq --all --interval 1s --max-size 64MiB
  accept-queue report week.aq -o week.html"
)]
pub(crate) struct RecordOptions {
    /// Where to; what a former run has written there is kept
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// How often to read
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = interval)]
    pub(crate) interval: Duration,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) lasting: Option<Duration>,
    /// End before the file is larger than this
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    pub(crate) max_size: u64,
}

/// A size such as 64MiB.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "a size has a number and KiB, MiB or GiB, as 64MiB, and is not 0".to_owned())
}

#[derive(Debug, Args)]
#[command(
    after_help = "The page needs nothing but itself: no network, no other file. A long recording is drawn in 1200 steps at most, each with the least \
and the greatest that was read in it.

Examples:
  accept-queue report week.aq -o week.html
  accept-queue report week.aq | ssh desk 'cat >week.html'
  accept-queue report accept-queue-hung-4711.json -o hung.html   what the watchdog has written"
)]
pub(crate) struct ReportOptions {
    /// What `record` has written, or an evidence file of the watchdog
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where to; standard output where nothing is said
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
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

#[derive(Debug, Args)]
#[command(
    after_help = "The VM is only looked at, through /proc and the kernel's tables of sockets: it is never stopped, attached to \
or signalled. Run as root, or as its user; CAP_SYS_PTRACE shows where its threads stand.

Exit status: 0 healthy; 1 the process could not be looked at; 2 for a wrong command line; 3 something is wrong; 4 nothing was \
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
    let window = duration(text)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(600);
    allowed.contains(&window).then_some(window).ok_or_else(|| "the time to look is 100ms to 10m".to_owned())
}
