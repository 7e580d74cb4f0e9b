//! What may stand on the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

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
    /// The experiment of 2009: a server that never accepts, and too many clients
    Lab(LabOptions),
    /// The clients of `lab`, which starts them itself
    #[command(hide = true)]
    LabClients(LabClientsOptions),
    /// Answers the VM that started it: for `accept_queue_port` only
    #[command(hide = true)]
    Port(PortOptions),
}

#[derive(Debug, Args)]
pub(crate) struct PortOptions {
    /// The pid of the VM that has started this program
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) vm: i32,
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
