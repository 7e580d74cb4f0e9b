//! `accept-queue port`: answers one VM that started it, over standard input and output, until that VM ends.
//!
//! Frames are `{packet, 4}` and hold Erlang terms. The first of either side is `{accept_queue, Version}`. Then come requests,
//! `{Ref, Command, Arguments}`; each is answered with `{Ref, Result}`. What nobody asked for is `{event, Name, Details}`.
//! With a watchdog the VM also sends `heartbeat` now and then, which is answered by nothing but its staying away.

mod commands;
mod etf;
mod inbox;
mod outbox;
mod pace;
mod watchdog;
mod words;

use std::io;
use std::panic;
use std::thread;
use std::time::Instant;

use accept_queue_core::remote::{end_with_parent, is_descendant_of};

use crate::args::PortOptions;
use commands::Desk;
use etf::Term;
use outbox::Outbox;
use pace::Pace;
use words::{atom, tuple};

/// Raised when a frame means something else than before.
const VERSION: i128 = 2;

pub(crate) fn run(options: &PortOptions) -> Result<(), String> {
    let vm = options.vm;
    // Before the check, so that a VM that ends in between is seen.
    end_with_parent().map_err(|error| format!("this program could outlive its VM: {error}"))?;
    if !is_descendant_of(vm) {
        return Err(format!("--vm is {vm}; allowed is the pid of the VM that has started this program"));
    }
    let no_thread = |error: io::Error| format!("no thread can be had: {error}");
    let outbox = Outbox::open(io::stdout()).map_err(no_thread)?;
    say_panics(outbox.clone());
    outbox.put(&hello());
    let beats = options.watchdog.as_ref().map(|watchdog| watchdog::start(vm, watchdog, outbox.clone()));
    let beats = beats.transpose().map_err(no_thread)?;
    let requests = inbox::open(io::stdin(), outbox.clone(), beats).map_err(no_thread)?;
    match requests.recv().map(|frame| Term::decode(&frame)) {
        Ok(Ok(first)) if first == hello() => {}
        Ok(_) => outbox.last_words(1, "malformed", &format!("the first frame is not {{accept_queue, {VERSION}}}")),
        Err(_) => return Ok(()),
    }
    let mut desk = Desk::new(vm);
    let (mut pace, begun) = (Pace::default(), Instant::now());
    for frame in requests {
        thread::sleep(pace.wait(begun.elapsed()));
        match Term::decode(&frame) {
            Ok(request) => answer(&mut desk, &outbox, request),
            Err(malformed) => outbox.event("malformed", &format!("a frame is no term of the protocol: {malformed}")),
        }
    }
    Ok(())
}

fn hello() -> Term {
    tuple([atom("accept_queue"), Term::Integer(VERSION)])
}

fn answer(desk: &mut Desk, outbox: &Outbox, request: Term) {
    let Term::Tuple(parts) = request else { return outbox.event("malformed", "a request is no tuple") };
    let Ok([reference, Term::Atom(command), Term::List(arguments)]) = <[Term; 3]>::try_from(parts) else {
        return outbox.event("malformed", "a request is not {Ref, Command, Arguments}");
    };
    let result = desk.result(&command, &arguments);
    if !outbox.put(&tuple([reference.clone(), result])) {
        // Too large, or the VM does not read: a short answer may find room.
        outbox.put(&tuple([reference, Err::<Term, _>(atom("truncated")).into()]));
    }
}

/// Our standard error is the VM's, where nobody looks for us.
fn say_panics(outbox: Outbox) {
    panic::set_hook(Box::new(move |panicked| {
        outbox.last_words(101, "panicked", &panicked.to_string());
    }));
}
