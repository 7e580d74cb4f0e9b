//! The command line. `build.rs` makes the manual pages and the shell completions from it, so it uses nothing else of the program.

mod follow;
mod inspect;
mod install;
mod lab;
pub(crate) mod manual;
mod port;
mod values;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use follow::{ExportOptions, FollowOptions, RecordOptions, ReportOptions, TopOptions, WatchOptions};
pub(crate) use inspect::{CheckOptions, DiagnoseOptions, ListOptions, VmOptions};
pub(crate) use install::{CompletionsOptions, ManOptions, Shell};
pub(crate) use lab::{LabClientsOptions, LabOptions};
pub(crate) use port::{PortOptions, WatchdogOptions};
pub(crate) use values::Moment;

/// How many connections wait to be accepted, how long, and how many have left: the accept queues of this machine, as the
/// kernel counts them.
#[derive(Debug, Parser)]
#[command(name = "accept-queue", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The command line that `--help`, the manual pages and the completions are of.
    pub(crate) fn documented() -> clap::Command {
        manual::with_sections(Arguments::command())
    }

    /// What is asked for; an error may also be help or version.
    pub(crate) fn read(words: Vec<OsString>) -> Result<Arguments, clap::Error> {
        let mut matches = Arguments::documented().try_get_matches_from(words)?;
        Arguments::from_arg_matches_mut(&mut matches)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The listeners of this machine's BEAMs: how many connections wait, against which limit, how long
    List(ListOptions),
    /// Why a BEAM does not accept: findings, the strongest first, each with its evidence and what to do
    Diagnose(DiagnoseOptions),
    /// One line and an exit status for a monitoring system: 0 ok, 1 warning, 2 critical, 3 unknown
    Check(CheckOptions),
    /// An event for each change: listeners added and removed, conditions raised and cleared
    Watch(WatchOptions),
    /// Writes the readings to a file, for `report`
    Record(RecordOptions),
    /// One HTML page from a recording: every queue over time, in a browser
    Report(ReportOptions),
    /// Metrics for Prometheus, over HTTP
    Export(ExportOptions),
    /// A live screen: listeners with their history, conditions, acceptors
    Top(TopOptions),
    /// The experiment of 2009: a server that never accepts, and too many clients
    Lab(LabOptions),
    /// The clients of `lab`, which starts them itself
    #[command(hide = true)]
    LabClients(LabClientsOptions),
    /// Shell completions, on standard output
    Completions(CompletionsOptions),
    /// A manual page on standard output, or all of them as files
    Man(ManOptions),
    /// Answers the VM that started it: for `accept_queue_port` only
    #[command(hide = true)]
    Port(PortOptions),
}

/// Whose listeners; without an option, every BEAM's.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub(crate) struct ScopeOptions {
    /// Only the listeners of this process, a BEAM or not
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    /// Only the listeners of the BEAM with this node name, with or without its host
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Only the listeners on this TCP port in this network namespace, of any process
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The listeners of every process, not only of BEAMs
    #[arg(long)]
    pub(crate) all: bool,
}
