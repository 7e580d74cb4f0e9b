//! What any user of the machine can do to the program, also where it runs as root.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{AS_NOBODY, PROGRAM, Said, Server, command, listen, run};

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
fn a_command_line_alone_makes_no_beam() {
    let (socket, address) = listen(5);
    let mut command = Command::new(compiled());
    command.arg0("beam.smp").args(["beam", "-root", "/", "-bindir", "/", "-progname", "erl", "-sname", "claimed"]);
    let fake = Server::holding(&mut command, socket.into());
    for arguments in [&["list", "--node", "claimed"][..], &["check", "--node", "claimed"]] {
        let said = run(arguments);
        assert!(said.status != 0 && format!("{said:?}").contains("no BEAM runs a node claimed"), "{said:?}");
    }
    assert!(!run(&["list", "--json"]).out.contains(&address.to_string()));
    let said = run(&["diagnose", "--pid", &fake.pid(), "--for", "100ms"]);
    assert!(said.status == 4 && said.out.contains("This process runs no BEAM"), "{said:?}");
}

#[test]
fn the_user_of_a_node_is_named_where_it_is_another() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root may start a process of another user");
    }
    let (socket, address) = listen(5);
    let claim = "printf 1_scheduler >/proc/$$/comm && echo ready && kill -STOP $$";
    let flags = ["sh", "-root", "/", "-bindir", "/", "-progname", "erl", "-sname", "claimed2"];
    let _fake = Server::holding(&mut command(&[&AS_NOBODY[..], &["sh", "-c", claim], &flags].concat()), socket.into());
    let said = run(&["check", "--node", "claimed2", "--samples", "1"]);
    assert!(
        said.out.contains(&address.to_string()) && said.out.contains("; the node runs as uid 65534 | "),
        "{said:?}"
    );
}

#[test]
fn a_process_in_three_thousand_groups_is_diagnosed() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root may join groups");
    }
    let member = Hostile::start("groups");
    let said = run(&["diagnose", "--pid", &member.server.pid(), "--for", "100ms", "--json"]);
    assert!(said.out.contains(&member.address), "{said:?}");
}

/// A folder in which everybody may write, and nobody may remove what is another's.
fn shared_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).expect("shared");
    folder
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("a file").mode() & 0o7777
}

#[test]
fn a_file_that_is_made_is_its_owners_alone_and_one_that_is_replaced_keeps_its_mode() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let path = |name: &str| at(name).to_str().expect("text").to_owned();
    let record = |name: &str| run(&["record", &path(name), "--all", "--for", "100ms"]);
    let report = |from: &str, to: &str| run(&["report", &path(from), "-o", &path(to)]);
    assert_eq!((record("new.aq").status, mode(&at("new.aq"))), (0, 0o600));
    assert_eq!((report("new.aq", "new.html").status, mode(&at("new.html"))), (0, 0o600));
    for kept in [0o600, 0o640, 0o644, 0o400] {
        fs::set_permissions(at("new.html"), fs::Permissions::from_mode(kept)).expect("a mode");
        assert_eq!((report("new.aq", "new.html").status, mode(&at("new.html"))), (0, kept));
    }
    fs::set_permissions(at("new.aq"), fs::Permissions::from_mode(0o640)).expect("a mode");
    assert_eq!((record("new.aq").status, mode(&at("new.aq"))), (0, 0o640));
}

#[test]
fn a_link_of_another_user_in_a_shared_folder_is_not_followed() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root may make links of another user");
    }
    let (folder, own) = (shared_folder(), tempfile::tempdir().expect("a folder"));
    let path = |folder: &tempfile::TempDir, name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let recording = path(&own, "a.aq");
    assert_eq!(run(&["record", &recording, "--all", "--for", "100ms"]).status, 0);
    fs::write(path(&own, "precious"), "precious").expect("a file");
    for (link, target) in [("dangling", "nowhere"), ("leading", "precious"), ("recording", "a.aq")] {
        symlink(path(&own, target), path(&folder, link)).expect("a link");
        lchown(path(&folder, link), Some(65534), Some(65534)).expect("another's");
        let before = fs::read(&recording).expect("a recording");
        for arguments in [
            &["report", &recording, "-o", &path(&folder, link)][..],
            &["record", &path(&folder, link), "--all", "--for", "100ms"],
        ] {
            let said = run(arguments);
            assert_eq!(said.status, 1, "{said:?}");
            let is_refused = ["permission denied", "is the recording itself"].iter().any(|why| said.err.contains(why));
            assert!(is_refused, "{said:?}");
        }
        assert!(fs::read(&recording).expect("a recording") == before, "it was appended to");
    }
    assert_eq!(fs::read_to_string(path(&own, "precious")).expect("a file"), "precious");
    assert!(!own.path().join("nowhere").exists());
    // One's own that leads to nothing is not followed either: it stands for a name that is taken.
    symlink(path(&own, "nowhere"), path(&own, "link")).expect("a link");
    let said = run(&["record", &path(&own, "link"), "--all", "--for", "100ms"]);
    assert!(said.status == 1 && said.err.contains("File exists") && !own.path().join("nowhere").exists(), "{said:?}");
}

#[test]
fn with_borrowed_rights_no_file_of_the_caller_is_read_or_written_and_no_program_started() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root may give rights away");
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("for all");
    let program = folder.path().join("accept-queue");
    fs::copy(PROGRAM, &program).expect("a copy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("setuid");
    let [program, secret, page] = [program, folder.path().join("secret"), folder.path().join("page")]
        .map(|path| path.to_str().expect("text").to_owned());
    fs::write(&secret, "{}").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("of root alone");
    let run = |arguments: &[&str]| -> Said {
        command(&[&AS_NOBODY[..], &[&program], arguments].concat()).output().expect("the program").into()
    };
    if !run(&["report", &secret]).err.contains("rights that its caller has not") {
        // A mount without setuid gives no rights.
        let is_refused_anyway = run(&["report", &secret]).err.contains("Permission denied");
        assert!(is_refused_anyway);
        return eprintln!("skipped: setuid has no effect in {}", folder.path().display());
    }
    for arguments in [
        &["report", &secret, "-o", &page][..],
        &["record", &page, "--all", "--for", "100ms"],
        &["lab", "--clients", "1"],
        &["man", "--into", folder.path().to_str().expect("text")],
    ] {
        let said = run(arguments);
        assert!(said.status == 1 && said.err.contains("rights that its caller has not"), "{arguments:?}: {said:?}");
    }
    assert!(!Path::new(&page).exists());
    assert_eq!(run(&["list", "--all", "--json"]).status, 0);
}
