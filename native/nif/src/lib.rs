//! The NIFs of `accept_queue_nif`: a table of contents. Terms come in, core answers, terms go out.

mod handle;
mod terms;

use accept_queue_core as core;
use rustler::ResourceArc;
use std::time::Duration;

use handle::{Handle, Ticks, Watched, ticks, time};
use terms::{Reason, Terms};

#[rustler::nif(schedule = "Normal")]
fn open(fd: i32) -> Result<ResourceArc<Handle>, Reason> {
    Ok(Handle::new(core::Listener::open(fd)?.into()))
}

#[rustler::nif(schedule = "Normal")]
fn join(handles: Vec<ResourceArc<Handle>>) -> ResourceArc<Handle> {
    Handle::new(core::Listeners::join(handles.iter().map(|handle| &handle.0)))
}

#[rustler::nif(schedule = "Normal")]
fn depth(handle: &Handle) -> Result<Terms<core::Depth>, Reason> {
    if handle.0.has_first_tier() { Ok(Terms(handle.0.depth()?)) } else { Err(Reason::SecondTier) }
}

#[rustler::nif(schedule = "Normal")]
fn cookies(handle: &Handle) -> Vec<Terms<core::Cookie>> {
    handle.0.sockets().iter().map(|socket| Terms(socket.cookie())).collect()
}

#[rustler::nif(schedule = "Normal")]
fn is_open(handle: &Handle) -> bool {
    handle.0.is_open()
}

#[rustler::nif(schedule = "Normal")]
fn verdict(standing: Terms<core::verdict::Standing>) -> Vec<Terms<core::verdict::Finding>> {
    core::verdict::verdict(&standing.0, &core::detector::Settings::default()).into_iter().map(Terms).collect()
}

#[rustler::nif(schedule = "DirtyIo")]
fn depth_from_dump(handle: &Handle) -> Result<Terms<core::Depth>, Reason> {
    Ok(Terms(handle.0.depth()?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn counts(handle: &Handle) -> Result<Terms<core::Counts>, Reason> {
    Ok(Terms(handle.0.counts()?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn held(handle: &Handle) -> Result<Vec<Terms<core::held::Held>>, Reason> {
    Ok(core::held::by(&handle.0)?.into_iter().map(Terms).collect())
}

#[rustler::nif(schedule = "DirtyIo")]
fn resize(handle: &Handle, backlog: u32) -> Result<u32, Reason> {
    Ok(handle.0.resize(backlog)?)
}

#[rustler::nif(schedule = "DirtyIo")]
fn listening() -> Result<Vec<Terms<core::Listening>>, Reason> {
    Ok(core::listening()?.into_iter().map(Terms).collect())
}

#[rustler::nif(schedule = "DirtyIo")]
fn listening_cookies() -> Result<Vec<Terms<core::Cookie>>, Reason> {
    let mut cookies: Vec<_> = core::listening()?.into_iter().map(|listening| listening.cookie).collect();
    cookies.sort_unstable();
    Ok(cookies.into_iter().map(Terms).collect())
}

#[rustler::nif(schedule = "DirtyIo")]
fn own() -> Result<Vec<Terms<core::Listener>>, Reason> {
    Ok(core::survey::own()?.into_iter().map(Terms).collect())
}

#[rustler::nif(schedule = "Normal")]
fn waited(fd: i32) -> Result<Terms<Duration>, Reason> {
    Ok(Terms(core::accepted::waited(fd)?))
}

#[rustler::nif(schedule = "Normal")]
fn peer_closed(fd: i32) -> Result<bool, Reason> {
    Ok(core::accepted::peer_closed(fd)?)
}

#[rustler::nif(schedule = "Normal")]
fn inode(fd: i32) -> Result<Terms<core::Inode>, Reason> {
    Ok(Terms(core::Inode::of(fd)?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn kernel() -> Result<Terms<core::kernel::Kernel>, Reason> {
    Ok(Terms(core::kernel::read()?))
}

#[rustler::nif(schedule = "Normal")]
fn advise(facts: Terms<core::advice::Facts>) -> Vec<Terms<core::advice::Advice>> {
    core::advice::advise(&facts.0).into_iter().map(Terms).collect()
}

#[rustler::nif(schedule = "Normal")]
fn default_settings() -> Terms<core::detector::Settings> {
    Terms(core::detector::Settings::default())
}

#[rustler::nif(schedule = "Normal")]
fn watch(handle: &Handle, settings: Terms<core::detector::Settings>, at_ms: u64) -> ResourceArc<Watched> {
    ResourceArc::new(Watched(core::watch::Watch::new(handle.0.clone(), settings.0, time(at_ms))))
}

#[rustler::nif(schedule = "Normal")]
fn tick(watches: Vec<ResourceArc<Watched>>, at_ms: u64, all: bool) -> Result<Ticks, Reason> {
    let all_first_tier = watches.iter().all(|watched| watched.0.has_first_tier());
    if all_first_tier { Ok(ticks(&watches, at_ms, all)) } else { Err(Reason::SecondTier) }
}

#[rustler::nif(schedule = "DirtyIo")]
fn tick_on_dirty(watches: Vec<ResourceArc<Watched>>, at_ms: u64, all: bool) -> Result<Ticks, Reason> {
    Ok(ticks(&watches, at_ms, all))
}

#[rustler::nif(schedule = "DirtyIo")]
fn look(watches: Vec<ResourceArc<Watched>>, at_ms: u64) -> Vec<Result<Terms<core::history::Looked>, Reason>> {
    let watches: Vec<_> = watches.iter().map(|watched| &watched.0).collect();
    let looks = core::watch::look(&watches, time(at_ms));
    looks.into_iter().map(|look| Ok(Terms(look?))).collect()
}

#[rustler::nif(schedule = "Normal")]
fn status(watched: &Watched, at_ms: u64) -> Terms<core::history::Status> {
    Terms(watched.0.status(time(at_ms)))
}

#[rustler::nif(schedule = "Normal")]
fn let_read(pid: i32) -> Result<i32, Reason> {
    core::remote::let_read(pid)?;
    Ok(pid)
}

rustler::init!("accept_queue_nif");
