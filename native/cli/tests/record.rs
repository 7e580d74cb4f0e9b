//! `accept-queue record` from outside, and what `report` reads of it. Tests that open sockets are ignored by `cargo test` and run by
//! `make test`.

mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use running::{Running, connect, fake_beam, holder, listen, own_pid, program, until};
use serde_json::Value;
use tempfile::TempDir;

/// A folder that goes with the test, and a file in it.
struct Place {
    _folder: TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.aq");
    Place { _folder: folder, file }
}

impl Place {
    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).expect("the recording")
    }

    fn record(&self, options: &[&str]) -> Running {
        Running::start(program().arg("record").arg(&self.file).args(options))
    }

    /// Records until the timeline has enough.
    fn record_until(&self, options: &[&str], is_enough: impl Fn(&Value) -> bool) -> Running {
        let recorder = self.record(options);
        until(|| self.timeline_if_any().filter(|timeline| is_enough(timeline)));
        recorder
    }

    fn timeline_if_any(&self) -> Option<Value> {
        let output = program().arg("report").arg(&self.file).output().expect("the program");
        output.status.success().then(|| timeline(&String::from_utf8(output.stdout).expect("text")))
    }

    fn timeline(&self) -> Value {
        self.timeline_if_any().expect("a timeline")
    }

    /// The one line of the refusal.
    fn refused(&self, options: &[&str]) -> String {
        let output = program().arg("record").arg(&self.file).args(options).output().expect("the program");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        said
    }
}

fn timeline(page: &str) -> Value {
    let (_, json) = page.split_once("<script id=\"timeline\" type=\"application/json\">").expect("a timeline");
    serde_json::from_str(json.split_once("</script>").expect("its end").0).expect("JSON")
}

fn track<'a>(timeline: &'a Value, address: &impl ToString) -> Option<&'a Value> {
    let listeners = timeline["listeners"].as_array().expect("listeners");
    listeners.iter().find(|listener| listener["address"] == address.to_string().as_str())
}

fn held(track: &Value) -> Vec<&str> {
    let conditions = track["conditions"]["first"].as_array().expect("conditions");
    conditions.iter().map(|held| held["condition"].as_str().expect("a name")).collect()
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn a_queue_that_overflows_is_in_the_recording_from_beginning_to_end() {
    let place = place();
    let (socket, at) = listen(1);
    // Alone: other tests of this process have conditions of their own meanwhile.
    let node = format!("overflowing{}", own_pid());
    let beam = fake_beam(&node, socket);
    let options = ["--node", &node, "--interval", "20ms"];
    let mut recorder = place.record_until(&options, |timeline| track(timeline, &at).is_some());
    let _clients = [connect(at), connect(at), connect(at)];
    until(|| {
        let timeline = place.timeline();
        let track = track(&timeline, &at).expect("the listener");
        (held(track) == ["overflowing"] && track["longest_wait_ms"].is_u64()).then_some(())
    });
    drop(beam);
    until(|| (track(&place.timeline(), &at)?["conditions"]["first"][0]["to"].is_u64()).then_some(()));
    recorder.signal("INT");
    let (status, said) = recorder.end();
    assert!(status.success(), "{said}");
    let bytes = place.bytes().len();
    let summary = format!("1 condition raised, the worst queue 2 (backlog 1) at {at}. {bytes} bytes recorded.");
    assert!(said.contains(&summary) && said.lines().count() == 1, "{said}");

    let timeline = place.timeline();
    let track = track(&timeline, &at).expect("the listener");
    assert!(track["owners"]["first"][0]["name"].as_str().is_some_and(|name| name.starts_with(&node)), "{track}");
    assert_eq!((&track["worst"]["queued"], &track["worst"]["limit"]), (&2.into(), &1.into()));
    assert!(track["dropped_in_all"].as_u64() >= Some(1) && track["dropped"][0][1].is_u64(), "{track}");
    let queued = track["queued"].as_array().expect("a series");
    assert_eq!(queued.first().and_then(|step| step[1].as_u64()), Some(0), "empty first: {track}");
    assert!(
        queued.last().is_some_and(|step| step[step.as_array().map_or(0, Vec::len) - 1].is_null()),
        "closed: {track}"
    );
    assert_eq!(timeline["runs"]["first"][0]["ended"], "ended as asked");
    assert_eq!((&timeline["torn_bytes"], &timeline["interval_ms"]), (&0.into(), &20.into()));
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn a_recorder_that_is_killed_has_lost_nothing_and_the_next_appends() {
    let place = place();
    let node = format!("recorded{}", own_pid());
    let (socket, at) = listen(5);
    let _beam = fake_beam(&node, socket);
    let options = ["--node", &node, "--interval", "20ms"];
    let _client = connect(at);
    let recorder = place
        .record_until(&options, |timeline| track(timeline, &at).is_some_and(|track| track["worst"]["queued"] == 1));
    recorder.signal("KILL");
    drop(recorder);
    assert!(place.timeline()["runs"]["first"][0]["ended"].is_null());
    // As a crash in a write leaves it.
    let whole = place.bytes();
    fs::write(&place.file, [&whole[..], &whole[8..8 + 20]].concat()).expect("a torn tail");
    assert_eq!(place.timeline()["torn_bytes"], 20);

    let mut recorder =
        place.record_until(&options, |timeline| timeline["runs"]["first"].as_array().map(Vec::len) == Some(2));
    recorder.signal("TERM");
    let (status, said) = recorder.end();
    assert!(status.success() && said.contains("20 bytes of an incomplete entry are cut off."), "{said}");
    assert!(place.bytes().starts_with(&whole));
    let timeline = place.timeline();
    let owner = &track(&timeline, &at).expect("the listener of both")["owners"]["first"][0];
    assert!(owner["name"].as_str().is_some_and(|name| name.starts_with(&node)), "{owner}");
    assert_eq!((&timeline["torn_bytes"], timeline["holes"]["first"].as_array().map(Vec::len)), (&0.into(), Some(1)));
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn the_end_of_the_process_is_the_end_of_the_recording() {
    let place = place();
    let (socket, at) = listen(5);
    let holder = holder("holder", socket);
    let pid = holder.child.id().to_string();
    let mut recorder = place.record_until(&["--pid", &pid], |timeline| track(timeline, &at).is_some());
    drop(holder);
    let (status, said) = recorder.end();
    assert!(status.success() && said.contains(&format!("process {pid} has ended.")), "{said}");
    assert_eq!(place.timeline()["runs"]["first"][0]["ended"], "the process has ended");
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn it_ends_before_the_file_is_too_large_and_does_not_begin_where_it_is() {
    let place = place();
    let (_socket, at) = listen(1000);
    let port = at.port().to_string();
    let options = ["--port", &port, "--interval", "10ms", "--max-size", "2KiB"];
    let mut recorder = place.record_until(&options, |timeline| track(timeline, &at).is_some());
    let mut clients = Vec::new();
    let ended = until(|| {
        clients.push(connect(at));
        recorder.child.try_wait().expect("ours")
    });
    let (_, said) = recorder.end();
    assert!(ended.success() && said.contains("has reached its largest size, 2048 bytes."), "{said}");
    let bytes = place.bytes();
    assert!((1024..=2048).contains(&bytes.len()), "{}", bytes.len());
    assert_eq!(place.timeline()["runs"]["first"][0]["ended"], "the file has reached --max-size");
    let said = place.refused(&["--port", &port, "--max-size", "1KiB"]);
    assert!(said.contains(&format!("has {} bytes, and --max-size allows 1024", bytes.len())), "{said}");
    assert_eq!(place.bytes(), bytes);
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn two_do_not_record_into_one_file() {
    let place = place();
    let (_socket, at) = listen(5);
    let _recorder = place.record_until(&["--pid", &own_pid()], |timeline| track(timeline, &at).is_some());
    let said = place.refused(&["--pid", &own_pid()]);
    assert!(said.ends_with("another accept-queue record is writing to it\n"), "{said}");
}

#[test]
#[ignore = "needs root, for a file system of its own that is full"]
fn a_full_disk_is_one_line_and_what_was_written_before_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_socket, at) = listen(5);
    // Two pages, in a mount namespace that ends with the program; the file is copied out at its end.
    let script =
        "mount -t tmpfs -o size=8k none \"$1\" && { \"$2\" record \"$1/a.aq\" --pid \"$3\" --interval 10ms; status=$?
        cp \"$1/a.aq\" \"$4\"; exit $status; }";
    let place = place();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(folder.path());
    command.arg(env!("CARGO_BIN_EXE_accept-queue")).arg(own_pid()).arg(&place.file);
    let mut recorder = Running::start(&mut command);
    let mut others = Vec::new();
    let ended = until(|| {
        others.push(listen(5));
        recorder.child.try_wait().expect("ours")
    });
    let (_, said) = recorder.end();
    assert_eq!((ended.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.ends_with("a.aq: No space left on device; what was recorded before can be read\n"), "{said}");
    let timeline = place.timeline();
    assert!(track(&timeline, &at).is_some() && timeline["listeners"].as_array().map_or(0, Vec::len) > 20);
    assert_eq!(timeline["torn_bytes"], 0);
}

#[test]
fn what_is_no_recording_is_refused_and_left_as_it_is() {
    let place = place();
    let magic = b"\x89AQREC\n\x01";
    let (whole, torn) = (b"\x0d\0\0\0\x11\x22\x33\x44", [7; 70_000]);
    for (bytes, sentence) in [
        (&b"a text"[..], "is no recording, and is left as it is"),
        (b"\0\0\0\0\0\0\0\0\0", "is no recording, and is left as it is"),
        (b"\x89AQREC\n\x02more", "is a recording of version 2, and this program writes version 1"),
        (&[&magic[..], whole, &torn].concat(), "is damaged at byte 8, and whole again behind it"),
    ] {
        fs::write(&place.file, bytes).expect("a file");
        let said = place.refused(&["--pid", &own_pid()]);
        assert!(said.starts_with(&format!("accept-queue: {}: {sentence}", place.file.display())), "{said}");
        assert_eq!(place.bytes(), bytes, "{sentence}");
        let output = program().arg("report").arg(&place.file).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count(), output.stdout.len()), (Some(1), 1, 0), "{said}");
    }
}

#[test]
fn bad_input_is_one_clear_line() {
    let place = place();
    let file = place.file.to_str().expect("text");
    let pipe = place.file.with_extension("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    for (arguments, status, sentence) in [
        (&["record", "/", "--all"][..], 1, "/: is a directory"),
        (&["record", "/dev/full", "--all"], 1, "/dev/full: is no regular file"),
        (&["record", pipe.to_str().expect("text"), "--all"], 1, "is no regular file"),
        (&["record", "/nowhere/a.aq", "--all"], 1, "/nowhere/a.aq: No such file or directory"),
        (&["record", file, "--pid", "2147483647"], 1, "there is no process 2147483647"),
        (&["record"], 2, "<FILE>"),
        (&["record", file, "--interval", "1ms"], 2, "a reading is taken every 10ms to 1h"),
        (&["record", file, "--for", "0s"], 2, "a time has a number and a unit"),
        (&["record", file, "--max-size", "64"], 2, "a size has a number and KiB, MiB or GiB, as 64MiB, and is not 0"),
        (&["record", file, "--max-size", "0GiB"], 2, "a size has a number and KiB, MiB or GiB"),
        (&["record", file, "--max-size", "99999999999GiB"], 2, "a size has a number and KiB, MiB or GiB"),
        (&["report", "/nowhere/a.aq"], 1, "/nowhere/a.aq: No such file or directory"),
        (&["report", "/"], 1, "/: is a directory"),
        (&["report", "/dev/null"], 1, "/dev/null: is empty"),
    ] {
        let output = program().args(arguments).stdin(Stdio::null()).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(sentence) && said.lines().count() == 1, "{arguments:?}: {said}");
        assert!(!Path::new(file).exists(), "{arguments:?} leaves nothing behind");
    }
}

#[test]
fn standard_output_of_record_is_standard_input_of_report() {
    let (_socket, at) = listen(5);
    let mut recorder = program()
        .args(["record", "-", "--pid", &own_pid(), "--interval", "20ms", "--for", "200ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let recording = recorder.stdout.take().expect("its output");
    // Both read and write no file in their folder, whatever it is called.
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("-"), "not this").expect("a file");
    let report =
        program().args(["report", "-", "-o", "-"]).current_dir(&folder).stdin(recording).output().expect("the program");
    let said = recorder.wait_with_output().expect("its end");
    assert!(said.status.success() && report.status.success(), "{said:?} {report:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("bytes recorded."), "{said:?}");
    let timeline = timeline(&String::from_utf8(report.stdout).expect("text"));
    assert!(track(&timeline, &at).is_some(), "{timeline}");
    assert_eq!(fs::read_to_string(folder.path().join("-")).expect("the file"), "not this");
}

#[test]
fn where_the_reader_of_a_recording_has_gone_it_ends_with_success() {
    let (_socket, _at) = listen(5);
    let line = "\"$0\" record - --pid \"$1\" --interval 10ms 2>/dev/null | head -c 1 >/dev/null; echo ${PIPESTATUS[0]}";
    let output =
        Command::new("bash").args(["-c", line, env!("CARGO_BIN_EXE_accept-queue"), &own_pid()]).output().expect("bash");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
}

#[test]
fn standard_input_that_is_no_recording_is_refused_by_its_name() {
    let output = program().args(["report", "-"]).stdin(Stdio::null()).output().expect("the program");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "accept-queue: standard input: is empty\n");
}
