//! Follows the listeners of this process over time.

pub mod poller;
pub mod watch;
