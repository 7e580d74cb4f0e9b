//! The process as a whole.

use accept_queue_core::rules::diagnosis::ProcessFinding;
use serde_json::Value;

use super::threads::crash_dump;
use super::{Words, millis, seconds};

pub(super) fn words(finding: &ProcessFinding, pid: i32) -> Words {
    match finding {
        ProcessFinding::Ended => Words {
            text: "The process has ended; its parent has not asked for its status yet.".to_owned(),
            advice: "Start it again; look at the parent, which should have noticed.".to_owned(),
            figures: vec![],
        },
        ProcessFinding::Stopped => Words {
            text: "The process has been stopped by a signal (SIGSTOP, or job control of a shell): none of its threads \
                   runs."
                .to_owned(),
            advice: format!(
                "Find out who stopped it and why; `kill -CONT {pid}` lets it go on. Nothing inside can be asked meanwhile, and \
                 no signal but SIGCONT and SIGKILL has an effect."
            ),
            figures: vec![],
        },
        ProcessFinding::Traced { tracer } => Words {
            text: format!("Process {tracer} traces it and has stopped it: none of its threads runs."),
            advice: format!(
                "If process {tracer} is a debugger that was forgotten, let it detach. No second debugger can attach, and \
                 SIGCONT does not help."
            ),
            figures: vec![("tracer", Value::from(u64::try_from(*tracer).unwrap_or_default()))],
        },
        ProcessFinding::Frozen { file } => Words {
            text: "Its control group is frozen: none of its threads runs.".to_owned(),
            advice: format!(
                "What froze it (docker pause, systemctl freeze, an orchestrator, a snapshot) can thaw it{}. Signals are \
                 delivered then, and a debugger that attaches hangs until then.",
                file.as_deref().map(thaw).unwrap_or_default()
            ),
            figures: file.iter().map(|file| ("file", Value::from(file.as_str()))).collect(),
        },
        ProcessFinding::DescriptorsExhausted { used, limit } => Words {
            text: format!(
                "{used} of {limit} descriptors are open: each accept fails with emfile, until one is closed."
            ),
            advice: format!(
                "Find out what holds them (`ls -l /proc/{pid}/fd`; CLOSE_WAIT in `accept-queue list --wide`) and close them. A higher \
                 limit (`ulimit -n`, LimitNOFILE) counts from the next start of the VM, which reads it once."
            ),
            figures: vec![("descriptors", Value::from(*used)), ("limit", Value::from(*limit))],
        },
        ProcessFinding::NoHeartbeat { silent_for, crash_dump: dump } => Words {
            text: format!(
                "No heartbeat of this VM for {}: at least one of its schedulers runs no Erlang process, and no thread shows \
                 why.",
                seconds(*silent_for)
            ),
            advice: format!(
                "See whether the machine gives the VM the processors that it counts on (a quota of its control group, steal \
                 time), and whether a process has blocked its schedulers. {}",
                crash_dump(*dump)
            ),
            figures: vec![("silent_ms", millis(*silent_for))],
        },
    }
}

fn thaw(file: &str) -> String {
    let escaped = file.escape_debug().to_string();
    match (escaped.strip_suffix("cgroup.events"), escaped.strip_suffix("freezer.state")) {
        (Some(folder), _) => format!(", or `echo 0 > {folder}cgroup.freeze` there or in a group above"),
        (None, Some(_)) => format!(", or `echo THAWED > {escaped}` there or in a group above"),
        (None, None) => String::new(),
    }
}
