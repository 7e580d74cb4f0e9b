//! The readings that walk a table: as NIFs on a dirty scheduler, and on the threads of a reader, which answers by a message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use accept_queue_core as core;
use accept_queue_core::monitor::reader::Reader;
use accept_queue_core::rules::detector::{Settings, Time};
use rustler::types::atom::ok;
use rustler::{Atom, Decoder, Encoder, Env, Error, LocalPid, NifResult, OwnedEnv, ResourceArc, Term};

use crate::clock::now;
use crate::handle::{Handle, Watched};
use crate::terms::{Reason, Terms};

mod atoms {
    rustler::atoms! {
        accept_queue_reader, full, nif_panicked, depth_from_dump, counts, held, resize, listening, own, kernel, watch,
    }
}

/// Dropping the last reference ends the threads.
pub(crate) struct ReaderHandle(Reader);

#[rustler::resource_impl]
impl rustler::Resource for ReaderHandle {}

/// A call of `accept_queue_nif`, by its name and arguments.
pub(crate) enum Request {
    DepthFromDump(ResourceArc<Handle>),
    Counts(ResourceArc<Handle>),
    Held(ResourceArc<Handle>),
    Resize(ResourceArc<Handle>, u32),
    Listening,
    Own,
    Kernel,
    Watch(u64, ResourceArc<Handle>, Settings),
}

impl ReaderHandle {
    pub(crate) fn start() -> Result<ResourceArc<ReaderHandle>, Reason> {
        let reader = Reader::start().map_err(|error| Reason::Core(error.into()))?;
        Ok(ResourceArc::new(ReaderHandle(reader)))
    }

    /// Sends `{accept_queue_reader, Tag, Answer}`. A request that waited for longer than its caller does is not made.
    pub(crate) fn request(&self, answers_to: LocalPid, tag: u64, patience: Duration, request: Request) -> Atom {
        let due = now() + patience;
        let job = move || {
            let answer = |env| {
                let read = catch_unwind(AssertUnwindSafe(|| request.answer_by(due, env)));
                let answer = read.unwrap_or_else(|_| atoms::nif_panicked().encode(env));
                (atoms::accept_queue_reader(), tag, answer)
            };
            // The process that asked may have ended.
            let _ = OwnedEnv::new().send_and_clear(&answers_to, answer);
        };
        if self.0.submit(Box::new(job)).is_ok() { ok() } else { atoms::full() }
    }
}

impl Request {
    fn answer_by(self, due: Time, env: Env) -> Term {
        if now() > due { Err::<Atom, _>(Reason::Core(core::Error::Timeout)).encode(env) } else { self.answer(env) }
    }

    fn answer(self, env: Env) -> Term {
        match self {
            Request::DepthFromDump(handle) => depth_from_dump(&handle).encode(env),
            Request::Counts(handle) => counts(&handle).encode(env),
            Request::Held(handle) => held(&handle).encode(env),
            Request::Resize(handle, backlog) => resize(&handle, backlog).encode(env),
            Request::Listening => listening().encode(env),
            Request::Own => own().encode(env),
            Request::Kernel => kernel().encode(env),
            Request::Watch(id, handle, settings) => Watched::new(id, &handle, settings).encode(env),
        }
    }
}

/// `{Name, Arguments}`.
impl<'a> Decoder<'a> for Request {
    fn decode(request: Term<'a>) -> NifResult<Self> {
        let (name, arguments): (Atom, Vec<Term>) = request.decode()?;
        match arguments.as_slice() {
            [] if name == atoms::listening() => Ok(Request::Listening),
            [] if name == atoms::own() => Ok(Request::Own),
            [] if name == atoms::kernel() => Ok(Request::Kernel),
            [handle] if name == atoms::depth_from_dump() => Ok(Request::DepthFromDump(handle.decode()?)),
            [handle] if name == atoms::counts() => Ok(Request::Counts(handle.decode()?)),
            [handle] if name == atoms::held() => Ok(Request::Held(handle.decode()?)),
            [handle, backlog] if name == atoms::resize() => Ok(Request::Resize(handle.decode()?, backlog.decode()?)),
            [id, handle, settings] if name == atoms::watch() => {
                let Terms(settings) = settings.decode()?;
                Ok(Request::Watch(id.decode()?, handle.decode()?, settings))
            }
            _ => Err(Error::BadArg),
        }
    }
}

pub(crate) fn depth_from_dump(handle: &Handle) -> Result<Terms<core::Depth>, Reason> {
    Ok(Terms(handle.0.depth()?))
}

pub(crate) fn counts(handle: &Handle) -> Result<Terms<core::Counts>, Reason> {
    Ok(Terms(handle.0.counts()?))
}

pub(crate) fn held(handle: &Handle) -> Result<Vec<Terms<core::reading::held::Held>>, Reason> {
    Ok(core::reading::held::by(&handle.0)?.into_iter().map(Terms).collect())
}

pub(crate) fn resize(handle: &Handle, backlog: u32) -> Result<u32, Reason> {
    Ok(handle.0.resize(backlog)?)
}

pub(crate) fn listening() -> Result<Vec<Terms<core::Listening>>, Reason> {
    Ok(core::listening()?.into_iter().map(Terms).collect())
}

pub(crate) fn own() -> Result<Vec<Terms<(core::Listener, core::Inode)>>, Reason> {
    // As `own' there: one that is closed meanwhile is no listener of ours any more.
    let of = |listener: core::Listener| listener.inode().ok().map(|inode| Terms((listener, inode)));
    Ok(core::reading::survey::own()?.into_iter().filter_map(of).collect())
}

pub(crate) fn kernel() -> Result<Terms<core::linux::counters::Kernel>, Reason> {
    Ok(Terms(core::linux::counters::read()?))
}
