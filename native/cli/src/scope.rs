//! The scope of a command, from the command line.

use accept_queue_core::Error;
use accept_queue_core::outside::snapshot::Scope;

use crate::args::ScopeOptions;

impl ScopeOptions {
    pub(crate) fn scope(&self) -> Scope {
        match self {
            ScopeOptions { pid: Some(pid), .. } => Scope::Process(*pid),
            ScopeOptions { node: Some(node), .. } => Scope::Node(node.clone()),
            ScopeOptions { port: Some(port), .. } => Scope::Port(*port),
            ScopeOptions { all: true, .. } => Scope::All,
            ScopeOptions { .. } => Scope::Beams,
        }
    }

    /// The scope in words. Printable, though a name on the command line may hold any character.
    pub(crate) fn subject(&self) -> String {
        match self.scope() {
            Scope::Beams => "every BEAM".to_owned(),
            Scope::All => "every process".to_owned(),
            Scope::Process(pid) => format!("process {pid}"),
            Scope::Node(name) => format!("node {}", name.escape_debug()),
            Scope::Port(port) => format!("port {port}"),
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
    pub(crate) fn no_listener(&self) -> String {
        match self.scope() {
            Scope::Process(pid) => format!("process {pid} has no listener"),
            Scope::Node(node) => format!("no listener of a node {}", node.escape_debug()),
            Scope::Port(port) => format!("no process listens on port {port}"),
            Scope::Beams => "no BEAM has a listener".to_owned(),
            Scope::All => "no process listens".to_owned(),
        }
    }
}
