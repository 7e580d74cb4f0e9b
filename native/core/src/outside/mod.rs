//! The listeners of other processes, from `/proc` and netlink: once, over time, one by one, and why a VM does not accept.

pub mod examination;
mod followed;
mod holdings;
pub mod observer;
pub mod remote;
pub mod remote_waits;
pub mod remote_watch;
mod sample;
mod scope;
pub mod snapshot;
mod source;
