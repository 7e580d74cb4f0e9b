//! What any user of the machine can do to the program, also where it runs as root.

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{PROGRAM, Said, Server, command, listen};

/// A process of `hostile/processes.c` that holds a listener, alone.
struct Hostile {
    server: Server,
    address: String,
}

impl Hostile {
    fn start(kind: &str) -> Hostile {
        let (socket, address) = listen(5);
        let mut command = Command::new(compiled());
        // A child of the test ends with its standard input elsewhere; here that is the listener.
        let server = Server::holding(command.arg(kind), socket.into());
        Hostile { server, address: address.to_string() }
    }
}

/// `processes.c`, compiled once by each test: into a file of its own, and then renamed.
fn compiled() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join("hostile-processes");
    let own = folder.join(format!("hostile-processes-{:?}", std::thread::current().id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/processes.c");
    let status = Command::new("cc").args(["-O", "-o"]).arg(&own).arg(source).status().expect("a C compiler");
    assert!(status.success());
    std::fs::rename(&own, &file).expect("renamed");
    file
}

/// With 512 MiB of address space, a sixth of what the process shows.
fn run_in_little_memory(seconds: &str, arguments: &[&str]) -> Said {
    let limited = ["sh", "-c", "ulimit -v 524288 && exec \"$@\"", "sh", "timeout", seconds, PROGRAM];
    command(&[&limited, arguments].concat()).stdin(Stdio::null()).output().expect("the program").into()
}

#[test]
fn a_command_line_of_three_gigabytes_is_not_read() {
    let huge = Hostile::start("cmdline");
    let pid = huge.server.pid();
    for scope in [&["--all"][..], &["--pid", &pid], &["--node", "huge"], &[]] {
        for command in [&["list"][..], &["check", "--samples", "1"]] {
            let said = run_in_little_memory("30", &[command, &["--json"], scope].concat());
            let found = support::at(&said.json(), &huge.address).cloned();
            assert_eq!(found.expect("its listener")["owners"][0]["name"], "huge", "{command:?} {scope:?}");
        }
    }
    let said = run_in_little_memory("30", &["diagnose", "--pid", &pid, "--for", "100ms"]);
    assert!(said.out.contains("huge"), "{said:?}");
    // They go on until they are ended.
    let said = run_in_little_memory("3", &["top", "--all"]);
    assert!(said.out.contains("huge"), "{said:?}");
    let said = run_in_little_memory("3", &["export", "--all", "--listen", "127.0.0.1:0"]);
    assert!(said.err.contains("metrics at http://"), "{said:?}");
}

#[test]
fn a_process_in_three_thousand_groups_is_diagnosed() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root may join groups");
    }
    let member = Hostile::start("groups");
    let said = support::run(&["diagnose", "--pid", &member.server.pid(), "--for", "100ms", "--json"]);
    assert!(said.out.contains(&member.address), "{said:?}");
}
