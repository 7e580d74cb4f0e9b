//! Follows the listeners of this process over time.

mod budget;
pub mod kept;
mod listening;
mod overflows;
pub mod poller;
pub mod reader;
mod schedule;
pub mod watch;
