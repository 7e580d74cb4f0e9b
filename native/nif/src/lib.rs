//! The NIFs of `accept_queue_nif`: a table of contents. Terms come in, core answers, terms go out.

mod handle;
mod terms;

use accept_queue_core as core;
use rustler::ResourceArc;

use handle::Handle;
use terms::{Reason, Terms};

#[rustler::nif(schedule = "Normal")]
fn open(fd: i32) -> Result<ResourceArc<Handle>, Reason> {
    Ok(ResourceArc::new(Handle(core::Listener::open(fd)?)))
}

#[rustler::nif(schedule = "Normal")]
fn depth(handle: &Handle) -> Result<Terms<core::Depth>, Reason> {
    Ok(Terms(handle.0.depth()?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn counts(handle: &Handle) -> Result<Terms<core::Counts>, Reason> {
    Ok(Terms(handle.0.counts()?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn listening() -> Result<Vec<Terms<core::Listening>>, Reason> {
    Ok(core::listening()?.into_iter().map(Terms).collect())
}

#[rustler::nif(schedule = "DirtyIo")]
fn cookies(fds: Vec<i32>) -> Vec<Terms<Option<core::Cookie>>> {
    fds.into_iter().map(|fd| Terms(core::sockopt::cookie(fd).ok())).collect()
}

#[rustler::nif(schedule = "DirtyIo")]
fn kernel() -> Result<Terms<core::kernel::Kernel>, Reason> {
    Ok(Terms(core::kernel::read()?))
}

rustler::init!("accept_queue_nif");
