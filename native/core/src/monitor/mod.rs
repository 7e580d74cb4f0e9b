//! Follows the listeners of this process over time.

mod overflows;
pub mod poller;
mod schedule;
pub mod watch;
