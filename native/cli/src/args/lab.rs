//! The experiment, and its clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  accept-queue lab                              as on the mailing list in 2009
  accept-queue lab --backlog 5 --clients 10     as with gen_tcp's default
  sudo accept-queue lab --hosts                 between two network namespaces
  sudo accept-queue lab --pcap lab.pcap         with the packets, for Wireshark")]
pub(crate) struct LabOptions {
    /// The backlog that the server passes to `listen`
    #[arg(long, value_name = "N", default_value_t = 30, allow_negative_numbers = true)]
    pub(crate) backlog: u16,
    /// Number of clients
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=20_000))]
    pub(crate) clients: u16,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Run server and clients in two new network namespaces instead of on loopback
    #[arg(long)]
    pub(crate) hosts: bool,
    /// Write the packets of the server's port to this file; `-` is standard output, and the text goes to standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LabClientsOptions {
    /// The first of their addresses
    pub(crate) from: Ipv4Addr,
    /// The address of the server
    pub(crate) server: SocketAddr,
    /// Number of clients
    pub(crate) clients: u16,
}
