//! The threads of a BEAM: what each is for, what it is doing, and how much of a processor it has used.
//!
//! A scheduler that runs native code can do nothing else meanwhile, and neither can what depends on it: one long call on
//! one of them has stopped `accept` for its whole length while all others slept. What a thread does is shown by its state,
//! its wait channel and its system call; that it does not move, by two readings with the same stack pointer and no processor
//! time between them.
//!
//! Nothing here stops, attaches to or signals the process. State, name and processor time are readable to every user; the wait
//! channel needs the same user; the system call needs the right to trace (CAP_SYS_PTRACE, or the same user where Yama allows
//! it). Cost: four small files a thread, 0.02 ms.

use std::time::Duration;

use crate::Error;
use crate::linux::proc_file::{self as file, MALFORMED};

/// One thread, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub tid: i32,
    /// What it calls itself, with any character.
    pub name: String,
    /// What it is for, by its name.
    pub role: Role,
    /// What the scheduler of the kernel says of it.
    pub state: State,
    /// Processor time since it began.
    pub cpu: Duration,
    /// Time that it could have run and had no processor, since it began; zero where the kernel does not count.
    pub delayed: Duration,
    /// Where in the kernel it waits; `None`: it does not, or we may not know.
    pub wait_channel: Option<String>,
    /// Its system call; an error where we may not know.
    pub call: Result<Call, Error>,
}

/// The threads of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Threads {
    /// In the order in which they began.
    pub list: Vec<Thread>,
    /// There are more than [`MOST`]: these are the first.
    pub is_cut: bool,
}

/// A BEAM on 256 processors has about 800.
pub const MOST: usize = 4096;

/// What a thread of a BEAM is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs Erlang code, ports and ordinary NIFs; the number is its own, from 1.
    Scheduler(u32),
    /// Runs native code that takes long.
    DirtyCpu(u32),
    /// Runs native code that waits: files, most of all.
    DirtyIo(u32),
    /// Waits for descriptors to become ready, and hands that to the schedulers.
    Poller(u32),
    /// Clears up.
    Aux(u32),
    /// Does the slow work of drivers.
    Async(u32),
    /// Hands signals to Erlang code.
    Signals,
    /// Writes what the emulator has to say.
    Messages,
    /// The first thread; it waits for the end.
    Main,
    /// Of a NIF or a driver.
    Other,
}

/// `TASK_COMM_LEN` less the NUL: the kernel cuts longer names.
const NAME: usize = 15;

impl Role {
    /// By its name, for OTP up to 25 (`1_scheduler`) and from 26 on (`erts_sched_1`): `erts_thr_create` and its callers.
    pub fn of(name: &str) -> Role {
        match name {
            "sys_sig_dispatc" | "erts_ssig_disp" => return Role::Signals,
            "sys_msg_dispatc" | "erts_smsg_disp" => return Role::Messages,
            _ => {}
        }
        let Some((before, after)) = name.split_once('_') else { return Role::Other };
        if before == "erts" {
            let numbered = after.rsplit_once('_').and_then(|(kind, number)| Some((kind, number.parse().ok()?)));
            return match numbered {
                Some(("sched", number)) => Role::Scheduler(number),
                Some(("dcpus", number)) => Role::DirtyCpu(number),
                Some(("dios", number)) => Role::DirtyIo(number),
                Some(("poll", number)) => Role::Poller(number),
                Some(("aux", number)) => Role::Aux(number),
                Some(("async", number)) => Role::Async(number),
                _ => Role::Other,
            };
        }
        if let ("async", Ok(number)) = (before, after.parse()) {
            return Role::Async(number);
        }
        let Ok(number) = before.parse() else { return Role::Other };
        let is = |whole: &str| after == whole || (name.len() == NAME && whole.starts_with(after));
        match after {
            "poller" => Role::Poller(number),
            "aux" => Role::Aux(number),
            _ if is("scheduler") => Role::Scheduler(number),
            _ if is("dirty_cpu_scheduler") && after.len() > "dirty_".len() => Role::DirtyCpu(number),
            _ if is("dirty_io_scheduler") && after.len() > "dirty_".len() => Role::DirtyIo(number),
            _ => Role::Other,
        }
    }
}

/// What the kernel's scheduler says of a thread (`task_state_array`, fs/proc/array.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On a processor, or waiting for one.
    Running,
    /// Waits, and can be woken.
    Sleeping,
    /// Waits for a disk or the like, and cannot be interrupted.
    Uninterruptible,
    /// A signal has stopped it.
    Stopped,
    /// A debugger has stopped it.
    Traced,
    /// Has ended; its parent has not asked for its status yet.
    Zombie,
    /// Anything else.
    Other,
}

impl State {
    /// By its letter.
    pub fn of(letter: u8) -> State {
        match letter {
            b'R' => State::Running,
            b'S' => State::Sleeping,
            b'D' => State::Uninterruptible,
            b'T' => State::Stopped,
            b't' => State::Traced,
            b'Z' => State::Zombie,
            _ => State::Other,
        }
    }

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Sleeping => "sleeping",
            State::Uninterruptible => "uninterruptible",
            State::Stopped => "stopped",
            State::Traced => "traced",
            State::Zombie => "zombie",
            State::Other => "other",
        }
    }
}

/// What `/proc/PID/task/T/syscall` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// The thread was on a processor, or waited for one: the kernel does not say where.
    Running,
    /// It waits in this system call.
    Waiting {
        /// The number of the call.
        number: i64,
        /// Its first argument; of `epoll_wait` the set.
        first: u64,
        /// Where it stands.
        at: Stand,
    },
    /// It waits outside of any call: for a page, as a rule.
    Outside(Stand),
}

/// Where in the process a thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// The stack pointer.
    pub sp: u64,
    /// The instruction pointer.
    pub pc: u64,
}

impl Call {
    /// Where it stands.
    pub fn stand(self) -> Option<Stand> {
        match self {
            Call::Running => None,
            Call::Waiting { at, .. } | Call::Outside(at) => Some(at),
        }
    }

    /// Text of the file (`proc_pid_syscall`, fs/proc/base.c).
    pub fn parse(text: &[u8]) -> Option<Call> {
        let mut words = str::from_utf8(text).ok()?.split_ascii_whitespace();
        let first = words.next()?;
        if first == "running" {
            return Some(Call::Running);
        }
        let number: i64 = first.parse().ok()?;
        let mut word = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        if number < 0 {
            return Some(Call::Outside(Stand { sp: word()?, pc: word()? }));
        }
        let first = word()?;
        for _ in 1..6 {
            let _ = word()?;
        }
        Some(Call::Waiting { number, first, at: Stand { sp: word()?, pc: word()? } })
    }
}

/// What `stat` says of a thread, or of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it calls itself.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Processor time, to a hundredth of a second.
    pub cpu: Duration,
    /// When it began, in ticks since the machine did: with its number this names it.
    pub began: u64,
}

/// `USER_HZ` of every architecture that a BEAM runs on.
const TICK: Duration = Duration::from_millis(10);

impl Stat {
    /// A name may hold any character, `)` and newlines among them; nothing that follows it holds a `)`.
    pub fn parse(text: &[u8]) -> Option<Stat> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')').filter(|&close| close > open)?;
        let mut rest = str::from_utf8(&text[close + 1..]).ok()?.split_ascii_whitespace();
        let state = State::of(*rest.next()?.as_bytes().first()?);
        // utime and stime are fields 14 and 15, starttime is 22; the state was 3.
        let mut field = |skip: usize| rest.nth(skip)?.parse::<u64>().ok();
        let (user, system, began) = (field(10)?, field(0)?, field(6)?);
        let ticks = u32::try_from(user.checked_add(system)?).unwrap_or(u32::MAX);
        let name = String::from_utf8_lossy(&text[open + 1..close]).into_owned();
        Some(Stat { name, state, cpu: TICK * ticks, began })
    }
}

/// Time on a processor, and time spent waiting for one: the first two figures of `schedstat`, in ns. The file is empty where
/// the kernel does not count.
pub fn scheduled(schedstat: &[u8]) -> Option<(Duration, Duration)> {
    let mut figures = str::from_utf8(schedstat).ok()?.split_ascii_whitespace();
    let mut next = || figures.next()?.parse().ok().map(Duration::from_nanos);
    Some((next()?, next()?))
}

/// The kernel writes `0` for a thread that does not wait, or where we may not know.
pub fn wait_channel(wchan: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(wchan).trim().to_owned();
    (!name.is_empty() && name != "0").then_some(name)
}

/// The threads of a process. One that ends meanwhile is left out.
pub fn read(pid: i32) -> Result<Threads, Error> {
    let (tids, is_cut) = file::numbers(&format!("/proc/{pid}/task"), MOST)?;
    let mut list = Vec::with_capacity(tids.len());
    for tid in tids {
        match read_one(pid, tid) {
            Ok(thread) => list.push(thread),
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Threads { list, is_cut })
}

/// The state of a process. Needs no rights.
pub fn state(pid: i32) -> Result<State, Error> {
    Stat::parse(&file::read(&format!("/proc/{pid}/stat"), PAGE)?).map(|stat| stat.state).ok_or(MALFORMED)
}

/// Whether a thread of the process bears the name of a scheduler, as in every BEAM. Needs no rights.
pub(crate) fn has_scheduler(pid: i32) -> Result<bool, Error> {
    for tid in file::numbers(&format!("/proc/{pid}/task"), MOST)?.0 {
        match file::read(&format!("/proc/{pid}/task/{tid}/comm"), PAGE) {
            Ok(name) if matches!(Role::of(String::from_utf8_lossy(&name).trim_end()), Role::Scheduler(_)) => {
                return Ok(true);
            }
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// When a thread was last on a processor: how long ago. For one that waits this is since when; `None` where the kernel is
/// built without CONFIG_SCHED_DEBUG. To a few ms.
pub fn last_ran(pid: i32, tid: i32) -> Option<Duration> {
    let begun = |path: &str| last_began(&file::read(path, PAGE).ok()?);
    let theirs = begun(&format!("/proc/{pid}/task/{tid}/sched"))?;
    begun("/proc/thread-self/sched")?.checked_sub(theirs)
}

/// `se.exec_start` on the kernel's clock, in ms: the first line is the thread's own name, which may imitate others.
fn last_began(sched: &[u8]) -> Option<Duration> {
    let text = String::from_utf8_lossy(sched);
    let value = text
        .lines()
        .filter_map(|line| line.strip_prefix("se.exec_start")?.trim_start().strip_prefix(':'))
        .next_back()?;
    let (whole, fraction) = value.trim().split_once('.')?;
    Some(Duration::from_millis(whole.parse().ok()?) + Duration::from_nanos(fraction.parse::<u32>().ok()?.into()))
}

/// No file here is longer than a page or two.
const PAGE: usize = 16 * 1024;

fn read_one(pid: i32, tid: i32) -> Result<Thread, Error> {
    let file = |name: &str| file::read(&format!("/proc/{pid}/task/{tid}/{name}"), PAGE);
    let Stat { name, state, cpu, .. } = Stat::parse(&file("stat")?).ok_or(MALFORMED)?;
    let (cpu, delayed) = file("schedstat").ok().and_then(|text| scheduled(&text)).unwrap_or((cpu, Duration::ZERO));
    let call = file("syscall").and_then(|text| Call::parse(&text).ok_or(MALFORMED));
    Ok(Thread {
        tid,
        role: Role::of(&name),
        name,
        state,
        cpu,
        delayed,
        wait_channel: file("wchan").ok().and_then(|text| wait_channel(&text)),
        call: if call == Err(Error::NotFound) { Err(Error::Unsupported) } else { call },
    })
    .map(|thread| if tid == pid { Thread { role: Role::Main, ..thread } } else { thread })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_role_is_known_by_its_name_on_every_release() {
        for (name, role) in [
            ("1_scheduler", Role::Scheduler(1)),
            ("1024_scheduler", Role::Scheduler(1024)),
            ("erts_sched_12", Role::Scheduler(12)),
            ("1_dirty_cpu_sch", Role::DirtyCpu(1)),
            ("128_dirty_cpu_s", Role::DirtyCpu(128)),
            ("erts_dcpus_2", Role::DirtyCpu(2)),
            ("1_dirty_io_sche", Role::DirtyIo(1)),
            ("10_dirty_io_sch", Role::DirtyIo(10)),
            ("erts_dios_10", Role::DirtyIo(10)),
            ("0_poller", Role::Poller(0)),
            ("erts_poll_0", Role::Poller(0)),
            ("1_aux", Role::Aux(1)),
            ("erts_aux_1", Role::Aux(1)),
            ("async_1", Role::Async(1)),
            ("erts_async_1", Role::Async(1)),
            ("sys_sig_dispatc", Role::Signals),
            ("erts_ssig_disp", Role::Signals),
            ("sys_msg_dispatc", Role::Messages),
            ("erts_smsg_disp", Role::Messages),
            ("1_sched", Role::Other),
            ("1_dirty_io", Role::Other),
            ("x_scheduler", Role::Other),
            ("-1_scheduler", Role::Other),
            ("1_", Role::Other),
            ("123456789_dirty", Role::Other),
            ("erts_sched_", Role::Other),
            ("erts_sched_\n", Role::Other),
            ("beam.smp", Role::Other),
            ("", Role::Other),
        ] {
            assert_eq!(Role::of(name), role, "{name:?}");
        }
    }

    #[test]
    fn a_name_that_looks_like_the_rest_of_the_line_is_a_name() {
        let line = b"32533 (a) R 1 (\n2) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 20 0 420000 0 0\n";
        let stat = Stat::parse(line).expect("a line");
        assert_eq!(stat.name, "a) R 1 (\n2");
        assert_eq!((stat.state, stat.cpu, stat.began), (State::Sleeping, Duration::from_secs(2), 420_000));
    }

    #[test]
    fn a_call_tells_where_the_thread_stands() {
        let stand = Stand { sp: 0x7f8f_8c5f_9a30, pc: 0x7f8f_cf12_6f36 };
        let line = b"232 0x6 0x7f8f8ef043a8 0x200 0xffffffff 0x0 0x0 0x7f8f8c5f9a30 0x7f8fcf126f36\n";
        assert_eq!(Call::parse(line), Some(Call::Waiting { number: 232, first: 6, at: stand }));
        assert_eq!(Call::parse(b"-1 0x7f8f8c5f9a30 0x7f8fcf126f36\n"), Some(Call::Outside(stand)));
        assert_eq!(Call::parse(b"running\n"), Some(Call::Running));
        for text in ["", "232", "232 0x6", "-1 0x1", "232 6 0 0 0 0 0 0 0", "x 0x1 0x2", "runnin"] {
            assert_eq!(Call::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_cannot_forge_when_a_thread_last_ran() {
        let text =
            "\nse.exec_start: (4, #threads: 1)\n----\nse.exec_start      :    4237443.971237\nse.vruntime : 3.2\n";
        assert_eq!(last_began(text.as_bytes()), Some(Duration::new(4237, 443_971_237)));
        assert_eq!(last_began(b"no such line\n"), None);
    }

    #[test]
    fn a_wait_channel_of_nothing_is_none() {
        assert_eq!(wait_channel(b"0"), None);
        assert_eq!(wait_channel(b""), None);
        assert_eq!(wait_channel(b"do_epoll_wait"), Some("do_epoll_wait".to_owned()));
        assert_eq!(
            scheduled(b"18524550 659422 38\n"),
            Some((Duration::from_nanos(18_524_550), Duration::from_nanos(659_422)))
        );
        assert_eq!(scheduled(b""), None);
    }

    proptest! {
        #[test]
        fn a_line_of_the_kernel_is_read_whatever_the_name(name in prop::collection::vec(1u8.., 0..16), user in 0u64..1 << 40) {
            let mut line = b"7 (".to_vec();
            line.extend_from_slice(&name);
            line.extend_from_slice(format!(") R 1 2 3 4 5 6 7 8 9 10 {user} 0 0 0 20 0 1 0 99 0\n").as_bytes());
            let stat = Stat::parse(&line).expect("a line");
            prop_assert_eq!(stat.state, State::Running);
            prop_assert_eq!(stat.began, 99);
            prop_assert_eq!(stat.name, String::from_utf8_lossy(&name).into_owned());
        }

        #[test]
        fn whatever_the_bytes_are_nothing_breaks(bytes: Vec<u8>) {
            let _ = (Stat::parse(&bytes), Call::parse(&bytes), scheduled(&bytes), last_began(&bytes));
            let _ = (wait_channel(&bytes), Role::of(&String::from_utf8_lossy(&bytes)));
        }

        #[test]
        fn a_mangled_line_is_read_as_something_or_not_at_all(line in "[-0-9(): RSTx]{0,120}") {
            let _ = (Stat::parse(line.as_bytes()), Call::parse(line.as_bytes()), last_began(line.as_bytes()));
        }
    }

    #[test]
    fn a_thread_that_waits_is_read_as_waiting() {
        let (release, waits) = std::sync::mpsc::channel::<()>();
        let waiting =
            std::thread::Builder::new().name("1_scheduler".to_owned()).spawn(move || waits.recv()).expect("a thread");
        let own = std::process::id() as i32;
        let found =
            || read(own).expect("own threads").list.into_iter().find(|thread| thread.role == Role::Scheduler(1));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let thread = loop {
            match found() {
                Some(thread) if matches!(thread.call, Ok(Call::Waiting { number: libc::SYS_futex, .. })) => {
                    break thread;
                }
                other => assert!(std::time::Instant::now() < deadline, "{other:?}"),
            }
        };
        assert_eq!(thread.state, State::Sleeping);
        assert!(last_ran(own, thread.tid).is_none_or(|ago| ago < Duration::from_secs(10)));
        drop(release);
        let _ = waiting.join();
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(read(i32::MAX), Err(Error::NotFound));
    }
}
