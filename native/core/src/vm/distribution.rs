//! How other nodes reach a BEAM: at the port that epmd knows for its name, if epmd answers at all.
//!
//! To other nodes a VM that hangs and one that epmd has forgotten are the same.

use super::epmd;
use crate::Error;
use crate::linux::namespace::beside;
use crate::linux::proc_file as file;

/// How others reach a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// The port on which epmd was asked.
    pub epmd_port: u16,
    /// What it said.
    pub epmd: Epmd,
}

/// What epmd says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epmd {
    /// It is reached at this port.
    Port(u16),
    /// It knows no node of this name.
    Unknown,
    /// It does not answer.
    Silent(Error),
}

const ENVIRONMENT: usize = 256 * 1024;

/// Asks the epmd in the network namespace of a process for a node, by its whole name or the part before the `@`.
pub fn read(pid: i32, node: &str) -> Distribution {
    let environment = file::read(&format!("/proc/{pid}/environ"), ENVIRONMENT);
    let epmd_port = environment.ok().and_then(|all| port_of(&all)).unwrap_or(epmd::PORT);
    let epmd = beside(pid, || epmd::nodes_at(epmd_port)).map_or_else(Epmd::Silent, |nodes| answer_for(node, &nodes));
    Distribution { epmd_port, epmd }
}

fn answer_for(node: &str, nodes: &[epmd::Node]) -> Epmd {
    let name = node.split_once('@').map_or(node, |(name, _)| name);
    nodes.iter().find(|(known, _)| known == name).map_or(Epmd::Unknown, |&(_, port)| Epmd::Port(port))
}

/// `ERL_EPMD_PORT` of a process. Nothing else of its environment is kept.
fn port_of(environment: &[u8]) -> Option<u16> {
    let value = environment.split(|&byte| byte == 0).find_map(|variable| variable.strip_prefix(b"ERL_EPMD_PORT="))?;
    str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_distinguished_from_one_whose_name_begins_the_same() {
        let nodes = [("shop2".to_owned(), 40002), ("shop".to_owned(), 40001)];
        assert_eq!(answer_for("shop@host", &nodes), Epmd::Port(40001));
        assert_eq!(answer_for("sho", &nodes), Epmd::Unknown);
    }

    #[test]
    fn the_port_of_epmd_may_be_set_in_the_environment() {
        assert_eq!(port_of(b"HOME=/\0ERL_EPMD_PORT=5000\0X=1\0"), Some(5000));
        assert_eq!(port_of(b"NOT_ERL_EPMD_PORT=5000\0"), None);
        assert_eq!(port_of(b"ERL_EPMD_PORT=99999\0"), None);
        assert_eq!(port_of(b"\xff\0ERL_EPMD_PORT=\xff\0"), None);
    }
}
