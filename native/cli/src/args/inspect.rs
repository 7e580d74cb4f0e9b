//! Commands that answer once: `list`, `check`, `diagnose`.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::ScopeOptions;
use super::values::{check_interval, diagnose_window, share};

#[derive(Debug, Args)]
#[command(
    after_help = "The table fits 80 columns: what ends or breaks with `…` is cut, and `+2` counts further owners. --wide cuts nothing and has every figure. ACCEPTS says whether \
a process of the BEAM waits in accept: armed: one waits; delivered: the VM was notified, and none has called accept since; not_armed: none is in accept; \
never_accepted: none has ever waited; -: not known.

Examples:
  accept-queue list                every BEAM
  accept-queue list --wide         with every figure
  accept-queue list --pid 4711     one process, a BEAM or not
  accept-queue list --all --json   every process, for a program"
)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// Every figure and nothing cut, in a table as wide as it takes
    #[arg(long)]
    pub(crate) wide: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(
    version,
    after_help = "Critical: a listener overflows (full throughout the samples, or clients were dropped meanwhile), or is stuck (connections wait, \
and none was accepted during all of the samples, if they span a second or more), or --critical says so in each of the samples. \
Warning: a listener is behind --max-wait throughout the samples, is filled beyond --max-fill or as --warning says in each of them, is abandoned \
(clients leave before they are accepted), or holds more than 1000 connections that their clients have closed. Unknown: it could not be read, the port, \
process or node has no listener, or the time ran out. A burst that drains between two samples is no alarm. With --samples 1 the answer comes at \
once: full is critical, and only --max-wait can tell a burst from a queue that does not drain.

A range is one of the monitoring-plugin guidelines, in percent of the limit that is taken: 80 alerts above 80, 10: below 10, ~:80 above 80, 10:80 \
outside of it, @10:20 inside of it. A full queue has more than 100, and is critical whatever the ranges are. `-w 50` is `--max-fill 50%`, the default.

Performance data is that of the ten worst listeners.

Examples:
  accept-queue check                                    every BEAM, over a second
  accept-queue check --node shop --max-wait 500ms
  accept-queue check --node shop -w 50 -c 80 -t 10      for a monitoring system
  accept-queue check --port 8080 --max-wait 1s --max-fill 100%   a readiness probe
  accept-queue check --port 8080 --samples 21           over five seconds"
)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) scope: ScopeOptions,
    /// Warn when a connection has waited longer than this
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub(crate) max_wait: Duration,
    /// Warn when the queue is filled beyond this share of its limit
    #[arg(long, value_name = "PERCENT", default_value = "50%", value_parser = share)]
    pub(crate) max_fill: u8,
    /// Warn by this range of percents of the limit, in place of --max-fill
    #[arg(short, long, value_name = "RANGE", conflicts_with = "max_fill", allow_hyphen_values = true)]
    pub(crate) warning: Option<String>,
    /// Critical by this range of percents of the limit
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    pub(crate) critical: Option<String>,
    /// Number of readings
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub(crate) samples: u32,
    /// Time between two readings, 10ms to 500ms
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = check_interval)]
    pub(crate) interval: Duration,
    /// Unknown when there is no answer after this; without it, after 10 seconds more than the samples take
    #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: Option<u64>,
    /// More lines after the first: -v the ten worst listeners, -vv all and what they are judged by, -vvv each reading; not with --json
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which VM; without an option, the only BEAM of this machine.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub(crate) struct VmOptions {
    /// The process of the VM
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    /// The VM with this node name, with or without its host
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// The VM that listens on this TCP port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "Without an option, the BEAM of this machine, where there is one. \
The VM is only read, through /proc and the kernel's tables of sockets: it is never stopped, attached to or signalled. Run as \
root, or as the user of the VM; CAP_SYS_PTRACE shows the native function that each thread is in.

Examples:
  accept-queue diagnose
  accept-queue diagnose --port 8080
  accept-queue diagnose --pid 4711 --for 10s --json")]
pub(crate) struct DiagnoseOptions {
    #[command(flatten)]
    pub(crate) vm: VmOptions,
    /// How long to observe, 100ms to 10m; a thread that is blocked for less than a second is no hang
    #[arg(long = "for", value_name = "DURATION", default_value = "2s", value_parser = diagnose_window)]
    pub(crate) window: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
