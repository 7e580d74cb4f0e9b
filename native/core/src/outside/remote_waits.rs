//! How long the accepted connections of another process's listeners had waited: what [`crate::reading::waits`] is to this process. The
//! asker has read each wait; they are counted here for as long as the program that holds this lives.

use std::time::Duration;

use crate::outside::remote::{Remote, RemoteSocket};
use crate::reading::waits::{Histograms, Waits};

/// By the cookie of the listener.
#[derive(Debug, Default)]
pub struct RemoteWaits(Histograms<RemoteSocket>);

impl RemoteWaits {
    /// Counts a connection with the first of these sockets that is open, and says whether one is.
    pub fn add(&self, remote: &Remote, sockets: &[RemoteSocket], wait: Duration) -> bool {
        // One that cannot be asked is not known to be closed.
        let is_open = |socket: &RemoteSocket| remote.is_open(std::slice::from_ref(socket)).unwrap_or(true);
        let open = sockets.iter().find(|socket| is_open(socket));
        open.map(|socket| self.0.of(socket.cookie, socket, is_open).add(wait)).is_some()
    }

    /// The sum over these sockets. From memory.
    pub fn of(&self, sockets: &[RemoteSocket]) -> Waits {
        self.0.read(sockets.iter().map(|socket| socket.cookie))
    }
}
