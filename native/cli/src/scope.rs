//! Whose listeners are meant: what stands on the command line, in the words of core.

use accept_queue_core::outside::Scope;

use crate::args::ScopeOptions;

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
