//! What may stand on the command line.

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
    /// The TCP listeners of the BEAMs of this network namespace, and who stands in front of them
    List(ListOptions),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  accept-queue list              every BEAM
  accept-queue list --pid 4711   one process, whatever it runs
  accept-queue list --json       for a program")]
pub(crate) struct ListOptions {
    /// Only this process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), conflicts_with = "all")]
    pub(crate) pid: Option<i32>,
    /// Every process, not only those that run a BEAM
    #[arg(long)]
    pub(crate) all: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
