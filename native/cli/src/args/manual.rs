//! What each command ends with, and what it reads besides its options: for `--help` and for the manual pages.

use clap::Command;

/// Rows of a name and what it means.
type Rows = &'static [(&'static str, &'static str)];

pub(crate) struct Manual {
    command: &'static str,
    pub(crate) statuses: Rows,
    pub(crate) keys: Rows,
    pub(crate) environment: Rows,
    pub(crate) files: Rows,
}

const WRONG: (&str, &str) = ("2", "the command line is wrong");
const FOLLOWED: Rows = &[
    ("0", "it ended by a signal, a limit, or a pipe whose reader has gone"),
    ("1", "it could not start (no such process, a file refused), or nothing could be read"),
    WRONG,
];
const WRITTEN: Rows = &[("0", "it is written"), ("1", "it could not be written"), WRONG];

/// What each key of `top` does: on its page of help, too.
pub(crate) const KEYS: Rows = &[
    ("arrows j k", "the listener above, below; also the wheel, a click, Home End g G"),
    ("PgUp PgDn", "a page up, down"),
    ("Enter d", "everything that is known of it"),
    ("t", "why its process does not accept, and its threads; PgUp PgDn scroll"),
    ("s S", "sort by the next column, by the one before"),
    ("r", "turn the order round"),
    ("/", "only listeners with this in their address, owner or condition"),
    ("p space", "stop the screen; readings go on meanwhile"),
    ("u", "what could not be read, and what would help"),
    ("? h F1", "this page"),
    ("Esc", "close what was opened last; where nothing is open, quit"),
    ("Ctrl-L", "draw the screen again"),
    ("Ctrl-Z", "back to the shell; `fg` comes back here"),
    ("q Ctrl-C", "quit"),
];

const NO_COLOR: (&str, &str) = ("NO_COLOR", "no colours, where it is set and not empty");
const PROC: (&str, &str) = ("/proc/PID", "which processes there are, their descriptors and network namespaces");
const PROC_NET: (&str, &str) =
    ("/proc/PID/net/tcp", "the queues where the kernel's own tables may not be asked; also tcp6");

const NOTHING: Rows = &[];
const READS: Rows = &[PROC, PROC_NET];

pub(crate) const PROGRAM: Manual = Manual {
    command: "accept-queue",
    statuses: &[
        ("0", "done; of `check`: OK; of `diagnose`: healthy"),
        ("1", "failed, with a line that says why; of `check`: WARNING"),
        ("2", "the command line is wrong; of `check`: CRITICAL"),
        ("3", "of `check`: UNKNOWN, also for a wrong command line; of `diagnose`: something is wrong"),
        ("4", "of `diagnose`: nothing was found, but not everything could be read"),
    ],
    keys: NOTHING,
    environment: &[NO_COLOR],
    files: READS,
};

/// Of every command that is shown.
pub(crate) const COMMANDS: &[Manual] = &[
    Manual {
        command: "list",
        statuses: &[
            ("0", "what was asked for is there, and is listed; a process may have no listener"),
            ("1", "there is no such process, node or port, or nothing could be read"),
            WRONG,
        ],
        keys: NOTHING,
        environment: &[NO_COLOR],
        files: READS,
    },
    Manual {
        command: "diagnose",
        statuses: &[
            ("0", "healthy"),
            ("1", "the process could not be read, or it is not clear which is meant"),
            WRONG,
            ("3", "something is wrong"),
            ("4", "nothing was found, but not everything could be read"),
        ],
        keys: NOTHING,
        environment: &[NO_COLOR],
        files: &[
            PROC,
            ("/proc/PID/task/TID", "what each thread does; stack and syscall where rights allow"),
            ("/sys/fs/cgroup", "whether the control group of the VM is frozen or held up"),
        ],
    },
    Manual {
        command: "check",
        statuses: &[
            ("0", "OK"),
            ("1", "WARNING"),
            ("2", "CRITICAL"),
            ("3", "UNKNOWN; also for a wrong command line, --help and --version"),
        ],
        keys: NOTHING,
        environment: &[NO_COLOR],
        files: READS,
    },
    Manual { command: "watch", statuses: FOLLOWED, keys: NOTHING, environment: &[NO_COLOR], files: READS },
    Manual {
        command: "record",
        statuses: FOLLOWED,
        keys: NOTHING,
        environment: &[NO_COLOR],
        files: &[
            ("FILE", "the recording; a new one may be read by its owner alone; `-` is standard output"),
            PROC,
            PROC_NET,
        ],
    },
    Manual {
        command: "report",
        statuses: &[("0", "the page is written"), ("1", "a file could not be read, or is no recording"), WRONG],
        keys: NOTHING,
        environment: &[
            NO_COLOR,
            ("TMPDIR", "the folder in which standard input is kept while it is read twice; /tmp by default"),
        ],
        files: &[
            ("FILE", "the recording or the evidence; `-` is standard input"),
            ("the FILE of --output", "the page; it is written whole or not at all; `-` is standard output"),
        ],
    },
    Manual {
        command: "export",
        statuses: &[
            ("0", "it ended by a signal"),
            ("1", "it could not start: no such process, an address that is in use"),
            WRONG,
        ],
        keys: NOTHING,
        environment: &[NO_COLOR],
        files: READS,
    },
    Manual {
        command: "top",
        statuses: &[
            ("0", "it ended by a key, a signal, or a pipe whose reader has gone"),
            ("1", "nothing could be read at the start, or without a terminal the process has ended"),
            WRONG,
        ],
        keys: KEYS,
        environment: &[NO_COLOR, ("TERM", "`dumb`: a plain table in place of the screen")],
        files: READS,
    },
    Manual {
        command: "lab",
        statuses: &[("0", "every step has settled"), ("1", "one has not, or could not be taken"), WRONG],
        keys: NOTHING,
        environment: &[NO_COLOR, ("PATH", "where `ip` is, for --hosts")],
        files: &[("the FILE of --pcap", "the packets; `-` is standard output, and the text goes to standard error")],
    },
    Manual { command: "completions", statuses: WRITTEN, keys: NOTHING, environment: &[NO_COLOR], files: NOTHING },
    Manual {
        command: "man",
        statuses: WRITTEN,
        keys: NOTHING,
        environment: &[NO_COLOR],
        files: &[("the FOLDER of --into", "one file for each page; it is made where it is not there")],
    },
];

impl Manual {
    pub(crate) fn of(command: &str) -> Option<&'static Manual> {
        std::iter::once(&PROGRAM).chain(COMMANDS).find(|manual| manual.command == command)
    }

    /// The sections of its page that have something in them.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&'static str, Rows)> {
        let all = [
            ("Keys", self.keys),
            ("Exit status", self.statuses),
            ("Environment", self.environment),
            ("Files", self.files),
        ];
        all.into_iter().filter(|(_, rows)| !rows.is_empty())
    }
}

/// The heading of the examples in what stands after the options.
pub(crate) const EXAMPLES: &str = "Examples:\n";

/// Each command with its sections after its options, before its examples.
pub(crate) fn with_sections(program: Command) -> Command {
    let own = Manual::of(program.get_name());
    let program = program.mut_subcommands(|command| match Manual::of(command.get_name()) {
        Some(manual) => documented(command, manual),
        None => command,
    });
    match own {
        Some(manual) => documented(program, manual),
        None => program,
    }
}

fn documented(command: Command, manual: &Manual) -> Command {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (notes, examples) = match after.find(EXAMPLES) {
        Some(at) => after.split_at(at),
        None => (after.as_str(), ""),
    };
    let sections = manual.sections().map(|(title, rows)| format!("{title}:\n{}", table(rows)));
    let parts = [notes.trim_end().to_owned()].into_iter().chain(sections).chain([examples.to_owned()]);
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    command.after_help(parts.join("\n\n"))
}

fn table(rows: Rows) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(name, meaning)| format!("  {name:<width$}  {meaning}")).collect::<Vec<_>>().join("\n")
}
