//! The listeners of other processes, from `/proc` and netlink: once, over time, one by one, and why a VM does not accept.

pub mod examination;
mod followed;
pub mod observer;
pub mod remote;
pub mod remote_watch;
mod sample;
pub mod snapshot;
