//! Follows the listeners of this process over time.

pub mod poller;
mod schedule;
pub mod watch;
