//! The packets of the server's port, as a packet socket sees them (man 7 packet), for Wireshark.

use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};

use accept_queue_core::linux::sockopt;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, TsResolution};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::hosts::Host;
use crate::output::refusal;

/// include/uapi/linux/if_ether.h. Incoming IPv4 packets; on loopback these are all, for each outgoing one comes in.
const ETH_P_IP: u16 = 0x0800;
/// include/uapi/linux/if_ether.h. Outgoing ones too.
const ETH_P_ALL: u16 = 0x0003;
/// Bytes for the burst of all clients; a packet takes less than 1 KiB.
const ROOM: usize = 64 << 20;
/// The largest packet on loopback.
const LARGEST: usize = 1 << 16;

/// Which packets the socket sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Incoming: on loopback, every packet.
    Loopback,
    /// Incoming and outgoing.
    Cable,
}

/// A capture in progress, in memory: no file is half written.
pub(crate) struct Capture {
    stop: PipeWriter,
    thread: JoinHandle<Result<Packets, String>>,
}

/// A complete capture.
pub(crate) struct Packets {
    pub(super) file: Vec<u8>,
    pub(crate) count: u64,
    /// Packets for which the socket had no room.
    pub(crate) lost: u64,
}

impl Capture {
    /// Captures from now on. Needs CAP_NET_RAW.
    pub(crate) fn start(host: &Host, wire: Wire, server: SocketAddr) -> Result<Capture, String> {
        let socket = host.visit(|| open(wire, server))?.map_err(|error| match error.raw_os_error() {
            Some(number) if number == Errno::PERM.raw_os_error() => {
                "--pcap opens a packet socket, which needs CAP_NET_RAW: be root, or leave it out".to_owned()
            }
            _ => format!("--pcap: no packet socket: {}", refusal(&error)),
        })?;
        let (stopped, stop) = io::pipe().map_err(|error| format!("--pcap: {}", refusal(&error)))?;
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || record(&socket, &stopped));
        let thread = thread.map_err(|error| format!("--pcap: {}", refusal(&error)))?;
        Ok(Capture { stop, thread })
    }

    pub(crate) fn finish(self) -> Result<Packets, String> {
        drop(self.stop);
        self.thread.join().map_err(|_| "--pcap: the capture panicked".to_owned())?
    }
}

fn open(wire: Wire, server: SocketAddr) -> io::Result<Socket> {
    let ethertype = match wire {
        Wire::Loopback => ETH_P_IP,
        Wire::Cable => ETH_P_ALL,
    };
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ethertype.to_be()))))?;
    socket.attach_filter(&filter(server))?;
    socket.set_nonblocking(true)?;
    // More than `rmem_max` needs CAP_NET_ADMIN; without it, there is less room.
    set_socket_recv_buffer_size_force(&socket, ROOM).or_else(|_| set_socket_recv_buffer_size(&socket, ROOM))?;
    // Discards packets from before the filter.
    while receive(&socket, &mut [0; LARGEST])?.is_some() {}
    sockopt::received_at(socket.as_raw_fd()).map_err(|_| io::Error::from(ErrorKind::Unsupported))?;
    Ok(socket)
}

/// Classic BPF: TCP to or from the server, whole packets. Offsets are those of Ethernet and IPv4. Of each instruction, where to
/// continue if true, and if false.
fn filter(server: SocketAddr) -> Vec<SockFilter> {
    // include/uapi/linux/bpf_common.h
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF_AT_X: u16 = 0x48;
    const LOAD_IP_HEADER_LENGTH: u16 = 0xb1;
    const IF_EQUAL: u16 = 0x15;
    const IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const TCP: u32 = 6;
    const FRAGMENT_OFFSET: u32 = 0x1fff;
    let ip = match server.ip() {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(_) => 0,
    };
    let port = server.port().into();
    const NEXT: u8 = 0;
    const ACCEPT: u8 = 15;
    const DROP: u8 = 16;
    let program = [
        (LOAD_HALF, 12, NEXT, NEXT),
        (IF_EQUAL, ETH_P_IP.into(), NEXT, DROP),
        (LOAD_BYTE, 23, NEXT, NEXT),
        (IF_EQUAL, TCP, NEXT, DROP),
        (LOAD_HALF, 20, NEXT, NEXT),
        (IF_ANY_BIT, FRAGMENT_OFFSET, DROP, NEXT),
        (LOAD_IP_HEADER_LENGTH, 14, NEXT, NEXT),
        (LOAD_WORD, 26, NEXT, NEXT),
        (IF_EQUAL, ip, NEXT, 11),
        (LOAD_HALF_AT_X, 14, NEXT, NEXT),
        (IF_EQUAL, port, ACCEPT, NEXT),
        (LOAD_WORD, 30, NEXT, NEXT),
        (IF_EQUAL, ip, NEXT, DROP),
        (LOAD_HALF_AT_X, 16, NEXT, NEXT),
        (IF_EQUAL, port, NEXT, DROP),
        (RETURN, LARGEST as u32, NEXT, NEXT),
        (RETURN, 0, NEXT, NEXT),
    ];
    // The kernel counts how many instructions are skipped.
    let skipped = |from, to: u8| if to == NEXT { 0 } else { to - from - 1 };
    let instructions = (0..).zip(program);
    instructions.map(|(at, (code, k, yes, no))| SockFilter::new(code, skipped(at, yes), skipped(at, no), k)).collect()
}

/// `None`: no packet. Else the bytes copied, and the length of the packet.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<(usize, usize)>> {
    match rustix::net::recv(socket, buffer, RecvFlags::TRUNC) {
        Ok((copied, length)) => Ok(Some((copied, length))),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Until the other end of `stopped` is closed, and then the packets that have arrived by then.
fn record(socket: &Socket, stopped: &PipeReader) -> Result<Packets, String> {
    let failed = |error: io::Error| format!("--pcap: {}", refusal(&error));
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        snaplen: LARGEST as u32,
        ts_resolution: TsResolution::NanoSecond,
        ..PcapHeader::default()
    };
    let unwritable = |error| format!("--pcap: {error}");
    let mut writer = PcapWriter::with_header(Vec::new(), header).map_err(unwritable)?;
    let mut buffer = vec![0; LARGEST];
    let (mut count, mut is_last_pass) = (0, false);
    loop {
        while let Some((copied, length)) = receive(socket, &mut buffer).map_err(failed)? {
            let at = sockopt::received_at(socket.as_raw_fd()).map_err(|error| format!("--pcap: {error}"))?;
            let packet = PcapPacket::new(at.unwrap_or_default(), length as u32, &buffer[..copied]);
            writer.write_packet(&packet).map_err(unwritable)?;
            count += 1;
        }
        if is_last_pass {
            let lost = sockopt::packets_lost(socket.as_raw_fd()).map_err(|error| format!("--pcap: {error}"))?;
            return Ok(Packets { file: writer.into_writer(), count, lost: lost.into() });
        }
        let mut watched = [PollFd::new(socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) => is_last_pass = !watched[1].revents().is_empty(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
}
