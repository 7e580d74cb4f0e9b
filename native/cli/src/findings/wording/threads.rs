//! Schedulers and poll threads.

use accept_queue_core::rules::diagnosis::{BlockedScheduler, CrashDump, DirtyKind, ThreadsFinding, WaitingClients};
use accept_queue_core::vm::calls;
use accept_queue_core::vm::stack::{Frame, Origin};
use serde_json::Value;

use super::{Words, debugger, millis, seconds};

pub(super) fn words(finding: &ThreadsFinding, pid: i32, listener: &str) -> Words {
    match finding {
        ThreadsFinding::SchedulerBlocked(found) => blocked(found, pid, listener),
        ThreadsFinding::SchedulerSpinning { scheduler, window, others_idle, waiting, crash_dump: dump } => Words {
            text: format!(
                "Scheduler {} has computed throughout ({} of {}){}. {}",
                scheduler.number,
                seconds(scheduler.used),
                seconds(*window),
                meanwhile(waiting.as_ref(), listener),
                if *others_idle {
                    "Others have nothing to do, so it is no Erlang code, which they would share: native code that does not \
                     come back."
                } else {
                    "All others compute too: native code that does not come back, or far too much to do."
                }
            ),
            advice: format!(
                "The kernel does not show where a thread is that runs on a processor: `perf record -g -t {}` does, without \
                 stopping it. A native call of more than 1 ms belongs on a dirty scheduler. {}",
                scheduler.tid,
                crash_dump(*dump)
            ),
            figures: vec![
                ("scheduler", Value::from(scheduler.number)),
                ("tid", Value::from(u64::try_from(scheduler.tid).unwrap_or_default())),
                ("cpu_ms", millis(scheduler.used)),
                ("window_ms", millis(*window)),
                ("waiting_listeners", Value::from(waiting.map_or(0, |waiting| waiting.listeners))),
            ],
        },
        ThreadsFinding::DirtySchedulersExhausted { kind, count, library } => {
            exhausted(*kind, *count, library.as_deref())
        }
        ThreadsFinding::SchedulerBusy { busy, schedulers, tid } => Words {
            text: format!(
                "{busy} of {schedulers} schedulers have computed throughout. From outside Erlang code and a native call that \
                 does not come back look alike while no client waits."
            ),
            advice: format!("`perf top -t {tid}` shows which of the two it is; so does the next client."),
            figures: vec![("busy_schedulers", Value::from(*busy))],
        },
    }
}

fn blocked(found: &BlockedScheduler, pid: i32, listener: &str) -> Words {
    let BlockedScheduler { scheduler, blocked, wait_channel, waiting, crash_dump: dump } = found;
    let frame = blocked.library.as_ref().or(blocked.frame.as_ref());
    let is_called_by_library = matches!(frame.map(|frame| &frame.origin), Some(Origin::Library(_)));
    let what = if is_called_by_library {
        "A native call of more than 1 ms belongs on a dirty scheduler"
    } else if blocked.call.and_then(calls::name) == Some("close") {
        "A close that lingers (`{linger, {true, Seconds}}`) waits for a peer that does not read: leave linger out, or close from \
         a port of its own"
    } else {
        "A call of the emulator that waits for a disk, a peer or a page holds up everything on this scheduler"
    };
    let mut advice = format!(
        "{what}; `+sfwi 500` lets other schedulers take over meanwhile, from the next start on. The VM comes back when the call \
         returns; a restart ends it and does not fix it. {}",
        crash_dump(*dump)
    );
    if frame.is_none() {
        advice = advice + " " + &debugger(pid);
    }
    let mut figures = vec![
        ("scheduler", Value::from(scheduler.number)),
        ("tid", Value::from(u64::try_from(scheduler.tid).unwrap_or_default())),
        ("since_ms", millis(blocked.since)),
        ("cpu_ms", millis(scheduler.used)),
        ("waiting_listeners", Value::from(waiting.map_or(0, |waiting| waiting.listeners))),
    ];
    figures.extend(blocked.call.map(|call| ("system_call", Value::from(call_name(call)))));
    figures.extend(wait_channel.as_deref().map(|channel| ("wait_channel", Value::from(channel))));
    if let Some(Frame { origin, symbol, .. }) = frame {
        if let Origin::Library(library) = origin {
            figures.push(("library", Value::from(library.as_str())));
        }
        figures.extend(symbol.as_deref().map(|symbol| ("symbol", Value::from(symbol))));
    }
    let text = format!(
        "Scheduler {} has been in {}{} for {} without using a processor{}.",
        scheduler.number,
        place(blocked.call, wait_channel.as_deref()),
        caller(frame),
        seconds(blocked.since),
        meanwhile(waiting.as_ref(), listener)
    );
    Words { text, advice, figures }
}

/// By its name, or else its number.
pub(in crate::findings) fn call_name(call: i64) -> String {
    calls::name(call).map_or_else(|| call.to_string(), str::to_owned)
}

fn place(call: Option<i64>, wait_channel: Option<&str>) -> String {
    match (call, wait_channel) {
        (Some(call), _) => calls::name(call).map_or_else(|| format!("system call {call}"), |name| format!("{name}(2)")),
        (None, Some(channel)) => format!("the kernel, in {}", channel.escape_debug()),
        (None, None) => "the kernel, outside of any call (for a page)".to_owned(),
    }
}

fn caller(frame: Option<&Frame>) -> String {
    match frame.map(|frame| (&frame.origin, &frame.symbol)) {
        Some((Origin::Library(library), Some(symbol))) => {
            format!(", called by {} of {}", symbol.escape_debug(), library.escape_debug())
        }
        Some((Origin::Library(library), None)) => format!(", called by {}", library.escape_debug()),
        Some((_, Some(symbol))) => format!(", called by the emulator itself, {}", symbol.escape_debug()),
        Some((_, None)) => ", called by the emulator itself or one of its drivers".to_owned(),
        None => String::new(),
    }
}

fn meanwhile(waiting: Option<&WaitingClients>, listener: &str) -> String {
    let Some(WaitingClients { listeners, queued, longest }) = waiting else {
        return "; no client waits so far".to_owned();
    };
    let others = match listeners {
        1 => String::new(),
        all => format!(" and {} more listeners", all - 1),
    };
    format!("; meanwhile {queued} wait on {listener}{others}, the first for {}", seconds(*longest))
}

/// Whether SIGUSR1 brings a crash dump.
pub(super) fn crash_dump(crash_dump: CrashDump) -> String {
    match crash_dump {
        CrashDump::NotHandled => {
            "Do not send SIGUSR1: this VM does not handle it (`+B`), and would end without a crash dump.".to_owned()
        }
        CrashDump::NoneFree { schedulers } => format!(
            "SIGUSR1 brings no crash dump now: it is handled by Erlang code, and none of the {schedulers} schedulers is free."
        ),
        CrashDump::SomeFree { free, schedulers } => format!(
            "SIGUSR1 ends the VM with a crash dump only where Erlang code still runs: {free} of {schedulers} schedulers are \
             free, so it may, or may wait for the one that is not."
        ),
    }
}

fn exhausted(kind: DirtyKind, count: usize, library: Option<&str>) -> Words {
    let in_library = library.map(|name| format!(", in {}", name.escape_debug())).unwrap_or_default();
    let (kind, option) = match kind {
        DirtyKind::Io => ("I/O", "`+SDio N`"),
        DirtyKind::Cpu => ("CPU", "`+SDcpu N`"),
    };
    let mut figures = vec![("schedulers", Value::from(count))];
    figures.extend(library.map(|library| ("library", Value::from(library))));
    Words {
        text: format!(
            "All {count} dirty {kind} schedulers have been held up throughout{in_library}: files and NIFs that need one wait. \
             Accept is not affected; what comes after it may be."
        ),
        advice: format!(
            "Look at what the calls wait for (a disk, a lock, a peer); {option} allows more from the next start on."
        ),
        figures,
    }
}
