//! The NIFs of `accept_queue_nif`: a table of contents. Terms come in, core answers, terms go out.

mod clock;
mod handle;
mod poller;
mod reader;
mod terms;

use accept_queue_core as core;
use rustler::types::atom::ok;
use rustler::{Atom, LocalPid, ResourceArc};
use std::sync::Arc;
use std::time::Duration;

use clock::now;
use handle::{Handle, Watched};
use poller::{PollerHandle, reporter};
use reader::{ReaderHandle, Request};
use terms::{Reason, Terms};

#[rustler::nif(schedule = "Normal")]
fn open(fd: i32) -> Result<ResourceArc<Handle>, Reason> {
    Ok(Handle::new(core::Listener::open(fd)?.into()))
}

#[rustler::nif(schedule = "Normal")]
fn has_first_tier(handle: &Handle) -> bool {
    handle.0.has_first_tier()
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
fn depth_at(fd: i32) -> Result<Terms<core::Depth>, Reason> {
    Ok(Terms(core::Listener::depth_at(fd)?.ok_or(Reason::SecondTier)?))
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
fn verdict(standing: Terms<core::rules::verdict::ListenerState>) -> Vec<Terms<core::rules::verdict::Symptom>> {
    core::rules::verdict::verdict(&standing.0, &core::rules::detector::Settings::default())
        .into_iter()
        .map(Terms)
        .collect()
}

#[rustler::nif(schedule = "DirtyIo")]
fn depth_from_dump(handle: &Handle) -> Result<Terms<core::Depth>, Reason> {
    reader::depth_from_dump(handle)
}

#[rustler::nif(schedule = "DirtyIo")]
fn counts(handle: &Handle) -> Result<Terms<core::Counts>, Reason> {
    reader::counts(handle)
}

#[rustler::nif(schedule = "DirtyIo")]
fn held(handle: &Handle) -> Result<Vec<Terms<core::reading::held::Held>>, Reason> {
    reader::held(handle)
}

#[rustler::nif(schedule = "DirtyIo")]
fn resize(handle: &Handle, backlog: u32) -> Result<u32, Reason> {
    reader::resize(handle, backlog)
}

#[rustler::nif(schedule = "DirtyIo")]
fn listening() -> Result<Vec<Terms<core::Listening>>, Reason> {
    reader::listening()
}

#[rustler::nif(schedule = "DirtyIo")]
fn own() -> Result<Vec<Terms<(core::Listener, core::Inode)>>, Reason> {
    reader::own()
}

#[rustler::nif(schedule = "Normal")]
fn waited(fd: i32) -> Result<Terms<Duration>, Reason> {
    Ok(Terms(core::reading::accepted::waited(fd)?))
}

#[rustler::nif(schedule = "Normal")]
fn peer_closed(fd: i32) -> Result<bool, Reason> {
    Ok(core::reading::accepted::peer_closed(fd)?)
}

#[rustler::nif(schedule = "Normal")]
fn accepted(fd: i32) -> Result<Terms<core::reading::accepted::Accepted>, Reason> {
    Ok(Terms(core::reading::accepted::accepted(fd)?))
}

#[rustler::nif(schedule = "Normal")]
fn add_wait(handle: &Handle, ms: u64) -> bool {
    handle.histograms().add(Duration::from_millis(ms))
}

#[rustler::nif(schedule = "Normal")]
fn waits(handle: &Handle) -> Terms<core::reading::waits::Waits> {
    Terms(core::reading::waits::of(&handle.0))
}

#[rustler::nif(schedule = "Normal")]
fn inode(fd: i32) -> Result<Terms<core::Inode>, Reason> {
    Ok(Terms(core::linux::sockopt::inode(fd)?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn kernel() -> Result<Terms<core::linux::counters::Kernel>, Reason> {
    reader::kernel()
}

#[rustler::nif(schedule = "Normal")]
fn advise(facts: Terms<core::rules::advice::Facts>) -> Vec<Terms<core::rules::advice::Advice>> {
    core::rules::advice::advise(&facts.0).into_iter().map(Terms).collect()
}

#[rustler::nif(schedule = "Normal")]
fn default_settings() -> Terms<core::rules::detector::Settings> {
    Terms(core::rules::detector::Settings::default())
}

#[rustler::nif(schedule = "Normal")]
fn reopen_ms() -> Terms<Duration> {
    Terms(core::rules::history::REOPEN)
}

#[rustler::nif(schedule = "DirtyIo")]
fn watch(id: u64, handle: &Handle, settings: Terms<core::rules::detector::Settings>) -> ResourceArc<Watched> {
    Watched::new(id, handle, settings.0)
}

#[rustler::nif(schedule = "Normal")]
fn watch_sockets(watched: &Watched, handle: &Handle) -> Atom {
    watched.0.replace_sockets(handle.0.clone());
    ok()
}

#[rustler::nif(schedule = "Normal")]
fn status(watched: &Watched) -> Terms<(core::rules::history::Status, core::reading::waits::Waits)> {
    Terms((watched.0.status(now()), watched.0.waits()))
}

#[rustler::nif(schedule = "Normal")]
fn watch_waits(watched: &Watched) -> Terms<core::reading::waits::Waits> {
    Terms(watched.0.waits())
}

#[rustler::nif(schedule = "Normal")]
fn poller_start(reports_to: LocalPid) -> Result<ResourceArc<PollerHandle>, Reason> {
    PollerHandle::start(reports_to)
}

#[rustler::nif(schedule = "Normal")]
fn poller_report_to(poller: &PollerHandle, pid: LocalPid) -> Atom {
    poller.0.report_to(reporter(pid));
    ok()
}

#[rustler::nif(schedule = "Normal")]
fn poller_watch(poller: &PollerHandle, watches: Vec<ResourceArc<Watched>>, samples: bool) -> Atom {
    poller.0.watch(watches.iter().map(|watched| Arc::clone(&watched.0)).collect(), samples);
    ok()
}

#[rustler::nif(schedule = "Normal")]
fn poller_is_running(poller: &PollerHandle) -> bool {
    poller.0.is_running()
}

#[rustler::nif(schedule = "Normal")]
fn poller_silence_ms(poller: &PollerHandle) -> Terms<Duration> {
    Terms(poller.0.silence())
}

#[rustler::nif(schedule = "Normal")]
fn poller_samples_taken(poller: &PollerHandle) -> u64 {
    poller.0.samples_taken()
}

#[rustler::nif(schedule = "Normal")]
fn reader_start() -> Result<ResourceArc<ReaderHandle>, Reason> {
    ReaderHandle::start()
}

#[rustler::nif(schedule = "Normal")]
fn reader_request(reader: &ReaderHandle, answers_to: LocalPid, tag: u64, patience_ms: u64, request: Request) -> Atom {
    reader.request(answers_to, tag, Duration::from_millis(patience_ms), request)
}

#[rustler::nif(schedule = "Normal")]
fn allow_ptrace(pid: i32) -> Result<i32, Reason> {
    core::outside::remote::allow_ptrace(pid)?;
    Ok(pid)
}

rustler::init!("accept_queue_nif");
