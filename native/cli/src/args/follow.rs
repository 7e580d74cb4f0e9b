//! Commands that read at an interval, and the page of what `record` has written.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ScopeOptions;
use super::values::{Moment, duration, host, interval, listen, moment, node, size};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  accept-queue top                     every BEAM
  accept-queue top --all               every process
  accept-queue top --interval 2s       for a slow line
  accept-queue top --port 8080 | cat   a table every half second, without a screen")]
pub(crate) struct TopOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// Time between two readings, 10ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = interval)]
    pub(crate) interval: Duration,
}

/// What `watch` and `record` share.
#[derive(Debug, Args)]
pub(crate) struct FollowOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// Time between two readings, 10ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = interval)]
    pub(crate) interval: Duration,
    /// End after this time; without it, on Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) lasting: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A condition is raised once and cleared once: behind, overflowing, stuck, abandoned, leaking. Listeners, and whole VMs, may come \
and go meanwhile; with --pid, the watch ends with the process.

Examples:
  accept-queue watch                                 every BEAM, until Ctrl-C
  accept-queue watch --port 8080 --samples           each reading of one port
  accept-queue watch --node shop --json | jq -c 'select(.event == \"raised\")'
  accept-queue watch --all --for 1m >/dev/null       only the summary: how deep was the worst queue?"
)]
pub(crate) struct WatchOptions {
    #[command(flatten)]
    pub(crate) follow: FollowOptions,
    /// End after this many readings
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print every reading too, not only changes
    #[arg(long)]
    pub(crate) samples: bool,
    /// Print one JSON object a line, readings included
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The file is complete up to the last reading, however the program ends; a later run appends to it. A quiet queue takes 5 kB an \
hour. A file that is no recording is refused, and left as it is.

Examples:
  accept-queue record week.aq                        every BEAM, until Ctrl-C
  accept-queue record night.aq --node shop --for 12h
  accept-queue record all.aq --all --interval 1s --max-size 64MiB
  accept-queue record - --for 1m | ssh desk 'cat >minute.aq'"
)]
pub(crate) struct RecordOptions {
    /// The file of the recording; an earlier recording in it is kept, and appended to. `-` is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) follow: FollowOptions,
    /// End before the file is larger than this: a number and KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    pub(crate) max_size: u64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The page is self-contained: it needs no network and no other file. What is drawn has 1200 steps at most, each with the \
least and the greatest value that was read in it; so the fewer minutes are chosen, the finer they are drawn.

TIME is in RFC 3339, as 2026-11-24T18:50:00Z or 2026-11-24T19:50:00+01:00, and in UTC where it names no other; or a duration before \
the end of the recording, as -2h or -1h30m.

Exit status: 0 where the page was written; 1 where the file cannot be read, or nothing in it is of the choice; 2 for a wrong command \
line.

Examples:
  accept-queue report week.aq -o week.html
  accept-queue report week.aq --from 2026-11-24T18:48:00Z --to 2026-11-24T18:52:00Z -o incident.html
  accept-queue report week.aq --from -2h --node shop --port 8080 -o shop.html
  accept-queue report week.aq | ssh desk 'cat >week.html'
  accept-queue report accept-queue-hang-20261124T185012.345Z-4711.json -o hang.html   an evidence file of the watchdog"
)]
pub(crate) struct ReportOptions {
    /// A file of `record`, or an evidence file of the watchdog, accept-queue-hang-….json. `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file for the page; without it, or with `-`, standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Draw from this time on
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) from: Option<Moment>,
    /// Draw up to this time
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) to: Option<Moment>,
    /// Only the listeners of the BEAM with this node name, with or without its host, or of the program with this name
    #[arg(long, value_name = "NAME", value_parser = node)]
    pub(crate) node: Option<String>,
    /// Only the listeners on this TCP port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "Every client that reaches the address can read the metrics, so the default is loopback.

Examples:
  accept-queue export                                  every BEAM, on http://127.0.0.1:9700/metrics
  accept-queue export --all --listen '[::1]:9701'      every process
  accept-queue export --node shop --listen 0.0.0.0:9700
  accept-queue export --listen :9700 --host shop01     by address, or by this name")]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// The address to serve metrics on, or a name; `:9700` is every address; with port 0, a free port, which is printed
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9700", value_parser = listen)]
    pub(crate) listen: String,
    /// A name by which it is scraped; may be repeated. Addresses, localhost and the machine's own name need none. On loopback a request
    /// for any other name gets 421; elsewhere any name will do until one is given
    #[arg(long = "host", value_name = "NAME", value_parser = host)]
    pub(crate) hosts: Vec<String>,
    /// Time between two readings, 10ms to 1h, also between scrapes
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = interval)]
    pub(crate) interval: Duration,
}
