//! `accept-queue port`: answers one VM that started it, over standard input and output, until that VM ends.
//!
//! Frames are `{packet, 4}` and hold Erlang terms. The first of either side is `{accept_queue, Version}`, this program's before the
//! VM's. Then come requests, `{Ref, Command, Arguments}`; each is answered with `{Ref, Result}`. Events come unasked: `{event, Name, Details}`. With a
//! watchdog the VM also sends the atom `heartbeat`, which has no reply.

mod answers;
mod arguments;
mod commands;
mod etf;
mod inbox;
mod outbox;
mod rate_limit;
mod term;
pub(crate) mod watchdog;

use std::io;
use std::panic;
use std::thread;
use std::time::Instant;

use accept_queue_core::outside::remote::{end_with_parent, is_descendant_of};

use crate::args::PortOptions;
use commands::Dispatcher;
use etf::Term;
use outbox::Outbox;
use rate_limit::RateLimit;
use term::{atom, tuple};

/// Raised when a frame changes its meaning.
const VERSION: i128 = 3;

pub(crate) fn run(options: &PortOptions) -> Result<(), String> {
    let vm = options.vm;
    // Before the check, so that a VM that ends in between is noticed.
    end_with_parent().map_err(|error| format!("this program could outlive its VM: {error}"))?;
    if !is_descendant_of(vm) {
        return Err(format!("--vm is {vm}; allowed is the pid of the VM that has started this program"));
    }
    let no_thread = |error: io::Error| format!("a thread could not be started: {error}");
    let outbox = Outbox::open(io::stdout()).map_err(no_thread)?;
    report_panics(outbox.clone());
    outbox.put(&hello());
    let heartbeats = options.watchdog.as_ref().map(|watchdog| watchdog::start(vm, watchdog, outbox.clone()));
    let heartbeats = heartbeats.transpose().map_err(no_thread)?;
    let requests = inbox::open(io::stdin(), outbox.clone(), heartbeats).map_err(no_thread)?;
    match requests.recv().map(|frame| Term::decode(&frame)) {
        Ok(Ok(first)) if first == hello() => {}
        Ok(_) => outbox.event_and_exit(1, "malformed", &format!("the first frame is not {{accept_queue, {VERSION}}}")),
        Err(_) => return Ok(()),
    }
    let mut dispatcher = Dispatcher::new(vm);
    let (mut limit, begun) = (RateLimit::default(), Instant::now());
    for frame in requests {
        thread::sleep(limit.wait(begun.elapsed()));
        match Term::decode(&frame) {
            Ok(request) => reply(&mut dispatcher, &outbox, request),
            Err(malformed) => outbox.event("malformed", &format!("a frame is no term of the protocol: {malformed}")),
        }
    }
    Ok(())
}

fn hello() -> Term {
    tuple([atom("accept_queue"), Term::Integer(VERSION)])
}

fn reply(dispatcher: &mut Dispatcher, outbox: &Outbox, request: Term) {
    let Term::Tuple(parts) = request else { return outbox.event("malformed", "a request is no tuple") };
    let Ok([reference, Term::Atom(command), Term::List(arguments)]) = <[Term; 3]>::try_from(parts) else {
        return outbox.event("malformed", "a request is not {Ref, Command, Arguments}");
    };
    let result = dispatcher.run(&command, &arguments);
    if !outbox.put(&tuple([reference.clone(), result])) {
        // Too large, or the VM does not read: a short reply may find room.
        outbox.put(&tuple([reference, Err::<Term, _>(atom("truncated")).into()]));
    }
}

/// As an event, for standard error is the VM's.
fn report_panics(outbox: Outbox) {
    panic::set_hook(Box::new(move |panicked| {
        outbox.event_and_exit(101, "panicked", &panicked.to_string());
    }));
}
