//! `accept-queue diagnose` of processes that lie: about what they are, what they are called, and what is in their files.
//! What it says of real VMs that hang is in `test/accept_queue_diagnose_SUITE.erl`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PROGRAM, Said, Server, command, run, until};

/// No BEAM at all, but a process with a thread that is called as a scheduler is. perl has no threads; a clone that shares
/// everything, and whose maker waits for it (CLONE_VM, FS, FILES, SIGHAND, VFORK, THREAD, SYSVSEM), is one.
const LIAR: &str = "my ($clone, $prctl, $mmap, $nanosleep, $maps) = splice @ARGV, 0, 5; $| = 1;
    # PROT_READ, now with PROT_WRITE and now without, so that no two of them become one; MAP_PRIVATE, MAP_ANONYMOUS
    for (1..$maps) { syscall($mmap, 0, 4096, $_ % 2 ? 1 : 3, 0x22, -1, 0) != -1 or die qq(mapping $_: $!) }
    syscall($clone, 0x54f00, 0, 0, 0, 0) == 0 or die qq(clone: $!);
    my $name = qq(1_scheduler); syscall($prctl, 15, $name) == 0 or die qq(prctl: $!);
    print qq(ready\\n); my $minute = pack(q(qq), 60, 0); syscall($nanosleep, $minute, 0)";

#[cfg(target_arch = "x86_64")]
const CALLS: [&str; 4] = ["56", "157", "9", "35"];
#[cfg(target_arch = "aarch64")]
const CALLS: [&str; 4] = ["220", "167", "222", "101"];

/// `perl`, or a changed copy of it, under the name of the emulator. Ends with the test.
fn liar(perl: &Path, maps: usize, arguments: &[&str]) -> Server {
    let mut shell = Command::new("bash");
    shell.args(["-c", "exec -a beam.smp \"$0\" \"$@\""]).arg(perl).args(["-e", LIAR, "--"]);
    let server = Server::start(shell.args(CALLS).arg(maps.to_string()).args(arguments));
    assert_eq!(server.line, "ready");
    server
}

/// Long enough for something to be held up. Memory has a bound, and so has time.
fn diagnose(pid: &str, arguments: &[&str]) -> Said {
    let begun = Instant::now();
    let bounded = ["prlimit", "--as=268435456", "--", PROGRAM, "diagnose", "--for", "1100ms", "--pid", pid];
    let said = Said::from(command(&[&bounded[..], arguments].concat()).output().expect("the program"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let is_printable = |char: char| !char.is_control() || char == '\n';
    assert!(said.out.chars().chain(said.err.chars()).all(is_printable), "{said:?}");
    said
}

/// The first finding, once it is that something is held up. It is held up for as long as it lives: where others had the processor, no look of a second has seen that.
fn first(liar: &Server) -> Value {
    until(|| {
        let said = diagnose(&liar.pid(), &["--json"]);
        let first = said.json()["findings"][0].clone();
        (said.status == 3 && first["id"] == "scheduler_blocked").then_some(first)
    })
}

/// A copy of perl in which something is changed.
fn changed_perl(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = fs::read("/usr/bin/perl").expect("perl, which every Debian has");
    change(&mut bytes);
    let folder = tempfile::tempdir().expect("a folder");
    let (written, path) = (folder.path().join("written"), folder.path().join(name));
    fs::write(&written, bytes).expect("a copy");
    // By another process: a test beside this one that starts a program has what is open for writing here open until it is executed, and
    // what is open for writing cannot be executed.
    let install = Command::new("install").args(["-m", "755"]).args([&written, &path]).status().expect("coreutils");
    assert!(install.success());
    (folder, path)
}

#[test]
#[ignore = "starts two BEAMs"]
fn the_vm_is_found_by_its_port_or_its_node_and_where_it_is_not_clear_which_is_meant_they_are_named() {
    let node = format!("diagnosed{}", std::process::id());
    let (shop, till) = (Server::beam(&[], &["-sname", &node], ""), Server::beam(&[], &[], ""));
    let run = |arguments: &[&str]| {
        Said::from(
            command(&[&[PROGRAM, "diagnose", "--json", "--for", "100ms"], arguments].concat())
                .output()
                .expect("the program"),
        )
    };
    let pid = |said: &Said| said.json()["pid"].to_string();
    assert_eq!(pid(&run(&["--port", &shop.line])), shop.pid());
    assert_eq!(pid(&run(&["--port", &till.line])), till.pid());
    assert_eq!(pid(&run(&["--node", &node])), shop.pid());
    let several = run(&[]);
    assert_eq!((several.status, several.out.as_str()), (1, ""), "{several:?}");
    for beam in [&shop, &till] {
        assert!(several.err.contains(&format!("({})", beam.pid())), "{several:?}");
    }
    assert!(several.err.contains("several BEAMs run on this machine: "), "{several:?}");
    let none = run(&["--port", "1"]);
    assert_eq!((none.status, none.err.trim()), (1, "accept-queue: no BEAM listens on port 1"), "{none:?}");
}

#[test]
fn a_process_that_cannot_be_read_is_named_in_one_line() {
    for (arguments, status, named) in [
        (&["--pid", "2147483647"][..], 1, "there is no process 2147483647, or it has ended meanwhile"),
        (&["--pid", "0"], 2, "'0'"),
        (&["--pid", "x\u{1b}[2J"], 2, "'x"),
        (&["--pid", "1", "--for", "soon"], 2, "soon"),
        (&["--pid", "1", "--port", "80"], 2, "--port"),
    ] {
        let said = run(&[&["diagnose"], arguments].concat());
        assert_eq!((said.status, said.out.as_str()), (status, ""), "{said:?}");
        assert!(said.err.contains(named) && !said.err.contains('\u{1b}'), "{said:?}");
        assert!(status == 2 || said.err.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn a_process_that_ends_meanwhile_is_an_error_and_nothing_is_half_written() {
    let mut child = command(&["sleep", "1"]).spawn().expect("a process");
    // A child of the test would stay as a zombie, which is a finding: a thread waits for it.
    let pid = child.id().to_string();
    let waiter = std::thread::spawn(move || child.wait());
    let said = run(&["diagnose", "--pid", &pid, "--for", "30s", "--json"]);
    waiter.join().expect("the waiter").expect("its end");
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert_eq!(said.err, format!("accept-queue: there is no process {pid}, or it has ended meanwhile\n"));
}

#[test]
fn what_a_process_calls_itself_its_thread_its_file_and_its_function_does_no_harm() {
    // The name of the C library's function may be the end of this one's.
    let evil = *b"\x1b]0;\n\x07x_syscall";
    let (_folder, perl) = changed_perl("lib\u{1b}[2J.so", |bytes| {
        let name = b"Perl_pp_syscall\0";
        let at = bytes.windows(name.len()).position(|window| window == name).expect("a function of perl");
        bytes[at..at + evil.len()].copy_from_slice(&evil);
    });
    let liar = liar(&perl, 0, &["-sname", "evil\u{1b}[2J\nname"]);
    let finding = first(&liar);
    let named = (&finding["evidence"]["library"], &finding["evidence"]["symbol"]);
    assert_eq!(named, (&"lib\u{1b}[2J.so".into(), &str::from_utf8(&evil).expect("text").into()), "{finding}");
    let text = diagnose(&liar.pid(), &[]);
    assert_eq!(text.status, 3);
    assert!(text.out.starts_with("evil\\u{1b}[2J\\nname ("), "{text:?}");
    assert!(text.out.contains("called by \\u{1b}]0;\\n\\u{7}x_syscall of lib\\u{1b}[2J.so for "), "{text:?}");
}

#[test]
fn as_many_mappings_as_the_kernel_allows_are_read() {
    let liar = liar(Path::new("/usr/bin/perl"), 65_000, &[]);
    let maps = fs::read_to_string(format!("/proc/{}/maps", liar.pid())).expect("its mappings");
    assert!(maps.lines().count() > 65_000);
    // It waits half a second for them, in which a busy machine may not get there.
    until(|| (first(&liar)["evidence"]["library"] == "perl").then_some(()));
}

/// The kernel and the loader look at program headers only: a program may run whose sections lie.
#[test]
fn a_file_that_lies_about_what_is_in_it_has_no_functions_and_does_no_harm() {
    let u64_at = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) as usize;
    // Offsets in `Elf64_Ehdr` and `Elf64_Shdr`, <elf.h>.
    let sections = move |bytes: &[u8]| (u64_at(bytes, 40), usize::from(bytes[60]) | usize::from(bytes[61]) << 8);
    type Change = Box<dyn FnOnce(&mut Vec<u8>)>;
    let lies: [(&str, Change); 5] = [
        ("sections beyond everything", Box::new(|bytes| bytes[40..48].fill(0xff))),
        ("sections without end", Box::new(|bytes| bytes[60..62].fill(0xff))),
        (
            "sections of all ones",
            Box::new(move |bytes| {
                let (at, count) = sections(bytes);
                bytes[at..at + 64 * count].fill(0xff);
            }),
        ),
        (
            "tables larger than any memory",
            Box::new(move |bytes| {
                let (at, count) = sections(bytes);
                for section in 0..count {
                    bytes[at + 64 * section + 32..at + 64 * section + 39].fill(0xff);
                }
            }),
        ),
        ("no sections at all", Box::new(|bytes| bytes[40..48].fill(0))),
    ];
    for (lie, change) in lies {
        let (_folder, perl) = changed_perl("liar.so", change);
        let liar = liar(&perl, 0, &[]);
        let finding = first(&liar);
        assert_eq!(finding["evidence"]["library"], "liar.so", "{lie}: {finding}");
        assert_eq!(finding["evidence"].get("symbol"), None, "{lie}: {finding}");
    }
}
