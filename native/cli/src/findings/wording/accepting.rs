//! Why no process accepts on a listener.

use accept_queue_core::rules::diagnosis::{AcceptingFinding, NotAccepting, QueueFigures, StoppedThreads};
use serde_json::Value;

use super::queue::{figures, named, waiting};
use super::threads::crash_dump;
use super::{Words, debugger, seconds};

const ASK_INSIDE: &str = "The VM runs, so ask it, in a remote shell: `accept_queue:acceptors/1` shows who should accept and what \
                          each does instead. Free the pool or start it again; the VM need not be restarted.";

pub(super) fn words(finding: &AcceptingFinding, pid: i32, listener: &str) -> Words {
    match finding {
        AcceptingFinding::NotAccepting(why, queue) => {
            let (text, advice) = not_accepting(why, queue, pid, &named(listener, queue));
            Words { text, advice, figures: figures(queue) }
        }
        AcceptingFinding::PoolAtLimit { established, close_wait } => Words {
            text: format!(
                "{} connections of {listener} are being served: the pool may have reached its limit of connections. From \
                 outside that looks like a pool that is stuck: the epoll set shows only that no process is in accept.",
                established + close_wait
            ),
            advice:
                "Compare that number with `max_connections` (ranch), `num_acceptors` (Thousand Island) and the like; \
                     `ranch:info/1` shows both."
                    .to_owned(),
            figures: vec![("established", Value::from(*established)), ("close_wait", Value::from(*close_wait))],
        },
    }
}

fn not_accepting(why: &NotAccepting, queue: &QueueFigures, pid: i32, listener: &str) -> (String, String) {
    let waiting = waiting(queue);
    match why {
        NotAccepting::NeverAccepted => (
            format!(
                "No process has ever had to wait in accept on {listener}, as one does that is called before the client comes: \
                 it is in none of the VM's epoll sets. {waiting}"
            ),
            "Start whatever should accept on it: the VM itself runs. Look in a remote shell for the process that owns the socket \
             (`accept_queue:list/0`), and at what it waits for. A restart helps only if acceptors are started then."
                .to_owned(),
        ),
        NotAccepting::NotYetAccepted => (
            format!(
                "No process has called accept on {listener} so far: it is in none of the VM's epoll sets. Clients will be queued \
                 up to {}, and none will be accepted.",
                u64::from(queue.depth.limit) + 1
            ),
            "Start whatever should accept on it, unless it is about to be: the VM itself runs.".to_owned(),
        ),
        NotAccepting::NoneInAccept => (
            format!(
                "No process is in accept on {listener}, and some process has been: the pool is stuck, has died, or has reached \
                 its limit. {waiting}"
            ),
            ASK_INSIDE.to_owned(),
        ),
        NotAccepting::NoneInAcceptIdle { window } => (
            format!("No process was in accept on {listener} during {}; no client waits.", seconds(*window)),
            "Well, if all acceptors are at work. If they have left, the first client will wait: `accept_queue:acceptors/1` \
             shows it."
                .to_owned(),
        ),
        NotAccepting::NoneAfterDelivery => (
            format!(
                "The kernel has notified the VM of a connection on {listener}, and no process has called accept since; all \
                 schedulers are free to. A socket of the `socket` module looks like this when its acceptors are stuck, have \
                 died, or have reached their limit. {waiting}"
            ),
            ASK_INSIDE.to_owned(),
        ),
        NotAccepting::EventNotHandled { stopped: threads, crash_dump: dump } => (
            format!(
                "The kernel has notified the VM of a connection on {listener}, and nothing has come of it: a scheduler that does not \
                 come round to it, or (with the `socket` module) no process in accept{}. {waiting}",
                stopped(threads.as_ref())
            ),
            format!("The threads below show which of them work. {} {}", crash_dump(*dump), debugger(pid)),
        ),
        NotAccepting::UnattendedPollset { stopped: threads } => (
            format!(
                "{listener} is armed in the schedulers' epoll set, and no thread waits on that set: no scheduler will learn of its \
                 connections before some scheduler polls again{}. {waiting}",
                stopped(threads.as_ref())
            ),
            "Any activity may wake a scheduler: a message to the VM, a timer. If this repeats, report it to OTP with this \
             output; `+IOs false` keeps descriptors out of that set from the next start on."
                .to_owned(),
        ),
        NotAccepting::NotPolled { blocked_poller, stopped: threads } => (
            format!(
                "{listener} is armed, and connections have come, but no thread fetches the event{}{}. {waiting}",
                blocked_poller.as_ref().map(|name| format!(": {} waits elsewhere", name.escape_debug())).unwrap_or_default(),
                stopped(threads.as_ref())
            ),
            format!(
                "Keep this output: it is evidence of a fault of the emulator or of what stops its threads. {}",
                debugger(pid)
            ),
        ),
    }
}

fn stopped(threads: Option<&StoppedThreads>) -> String {
    match threads {
        None => String::new(),
        Some(StoppedThreads { count: 1, name, tid }) => {
            format!("; a debugger has stopped {} (thread {tid})", name.escape_debug())
        }
        Some(StoppedThreads { count, name, .. }) => {
            format!("; a debugger has stopped {count} threads, {} first", name.escape_debug())
        }
    }
}
