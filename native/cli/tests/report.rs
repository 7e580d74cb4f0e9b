//! The page of `accept-queue report` in a real browser, headless. Ignored by `cargo test` and run by `make test`.

mod running;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use running::{Running, connect, holder, listen, own_pid, program, until};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

/// A page, and what a browser makes of it.
struct Page {
    folder: TempDir,
    file: PathBuf,
}

/// Puts on the root element what the script of the page does not know.
const PROBE: &str = "<script>
const root = document.documentElement;
root.dataset.paper = getComputedStyle(document.body).backgroundColor;
root.dataset.fetched = performance.getEntriesByType('resource').length;
root.dataset.wide = root.scrollWidth > root.clientWidth;
const charts = document.querySelector('.charts');
charts.focus();
for (const key of ['Home', 'ArrowRight', 'End']) charts.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
</script>";

impl Page {
    /// A recording, or evidence, as a page.
    fn of(recording: &Path, folder: TempDir) -> Page {
        let file = folder.path().join("page.html");
        let report = program().arg("report").arg(recording).arg("-o").arg(&file).output().expect("the program");
        assert!(report.status.success(), "{report:?}");
        Page { folder, file }
    }

    fn source(&self) -> String {
        fs::read_to_string(&self.file).expect("the page")
    }

    /// The page after its script has run.
    fn dom(&self, options: &[&str]) -> String {
        self.dom_after(PROBE, options)
    }

    fn dom_after(&self, probe: &str, options: &[&str]) -> String {
        let probed = self.folder.path().join("probed.html");
        fs::write(&probed, self.source() + probe).expect("a page");
        let output = self.browser(&[options, &["--dump-dom"]].concat(), &probed);
        let dom = String::from_utf8(output).expect("text");
        assert!(!dom.contains("data-failed") && dom.contains("<details"), "{dom}");
        assert!(dom.contains("data-fetched=\"0\"") && dom.contains("data-wide=\"false\""), "{dom}");
        dom
    }

    fn browser(&self, options: &[&str], page: &Path) -> Vec<u8> {
        let user = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let mut command = Command::new("chromium");
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.arg(format!("--user-data-dir={}", user.path().display())).args(options).arg(page);
        let output = command.output().expect("chromium, of the Debian package");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }
}

/// All values of an attribute.
fn attributes<'a>(dom: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!("{name}=\"");
    dom.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Records this process until the queue at `address` overflows, and then that it was closed.
fn recording(folder: &Path, scope: &[&str], is_enough: impl Fn(&str) -> bool) -> PathBuf {
    let file = folder.join("a.aq");
    let mut recorder = Running::start(program().arg("record").arg(&file).args(["--interval", "20ms"]).args(scope));
    until(|| {
        let report = program().arg("report").arg(&file).output().expect("the program");
        is_enough(&String::from_utf8_lossy(&report.stdout)).then_some(())
    });
    recorder.signal("INT");
    assert!(recorder.end().0.success());
    file
}

#[test]
#[ignore = "on real sockets, and in chromium: make test runs it"]
fn each_chart_has_its_points_in_light_and_in_dark_and_on_a_phone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_socket, at) = listen(1);
    let _clients = [connect(at), connect(at), connect(at)];
    let port = at.port().to_string();
    let file = recording(folder.path(), &["--port", &port], |page| {
        page.contains("\"overflowing\"")
            && !page.contains("\"longest_wait_ms\":null")
            && !page.contains("\"dropped\":[]")
    });
    let page = Page::of(&file, folder);
    let source = page.source();
    let outside = ["src=", "href=", "url(", "@import", "fetch(", "XMLHttp", "import(", "https:", "//cdn"];
    assert!(outside.iter().all(|what| !source.contains(what)), "it needs nothing but itself");
    assert_eq!(source.matches("http:").count(), 1, "the name of SVG");

    for (scheme, paper) in [("1", "rgb(251, 251, 253)"), ("0", "rgb(15, 19, 27)")] {
        let options = [&format!("--blink-settings=preferredColorScheme={scheme}"), "--window-size=1000,1400"];
        let dom = page.dom(&options);
        assert_eq!(attributes(&dom, "data-paper"), [paper]);
        // Queued, left if any, and limit; wait; CLOSE_WAIT, of which there is none: each curve has its points.
        let points = attributes(&dom, "data-points");
        assert!((3..=5).contains(&points.len()) && points.iter().all(|count| *count != "0"), "{points:?}");
        assert!(!attributes(&dom, "data-count").is_empty(), "a bar for each step with drops");
        assert!(attributes(&dom, "data-condition").contains(&"overflowing"));
        let labels = attributes(&dom, "aria-label");
        let named = |name: &str| labels.iter().any(|label| label.starts_with(name));
        assert!(named("Depth against limit. At most 2 of 1 queued") && named("Oldest wait. At most "), "{labels:?}");
        assert!(named("Drops. ") && named("CLOSE_WAIT held. None.") && named("Time, for 127.0.0.1:"), "{labels:?}");
        // By the keyboard, the last moment of all.
        let said = attributes(&dom, "aria-valuetext");
        assert!(said.len() == 1 && said[0].contains("2 of 1 queued") && said[0].contains("overflowing"), "{said:?}");
        assert!(dom.contains(&format!("<b>{at}</b>")) && dom.contains("<title>Depth against limit</title>"));
        let picture = page.folder.path().join("page.png");
        page.browser(&[&options[..], &[&format!("--screenshot={}", picture.display())]].concat(), &page.file);
        assert!(fs::read(&picture).expect("a picture").starts_with(b"\x89PNG"));
    }
    page.dom(&["--window-size=500,900"]);
}

/// This process is the VM; it sends one heartbeat and no other.
#[test]
#[ignore = "on real sockets, and in chromium: make test runs it"]
fn the_evidence_of_the_watchdog_is_a_page_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_socket, at) = listen(1);
    let _clients = [connect(at), connect(at), connect(at)];
    let kept = folder.path().join("kept");
    let mut command = program();
    command.args([
        "port",
        "--vm",
        &own_pid(),
        "--keep",
        "1",
        "--heartbeat-ms",
        "100",
        "--hang-after-ms",
        "1500",
        "--evidence",
    ]);
    let mut port = Running::start(command.arg(&kept).stdin(Stdio::piped()));
    // {accept_queue, 3}, and the atom heartbeat.
    let mut to = port.child.stdin.take().expect("its input");
    to.write_all(b"\0\0\0\x13\x83\x68\x02\x77\x0caccept_queue\x61\x03\0\0\0\x0c\x83\x77\x09heartbeat").expect("frames");
    let evidence = until(|| {
        let files = fs::read_dir(&kept).ok()?.map(|entry| entry.expect("an entry").path());
        files.filter(|path| path.extension().is_some_and(|suffix| suffix == "json")).find(|path| path.is_file())
    });
    let page = Page::of(&evidence, folder);
    let dom = page.dom(&[]);
    assert!(dom.contains("<p>No heartbeat for ") && dom.contains(" s: the last came at "), "{dom}");
    assert!(
        dom.contains(&format!("The queue of {at} is full, 2 of 2 places (backlog 1)")),
        "what diagnose finds: {dom}"
    );
    let found = dom.split_once("class=\"found\"").expect("a box").1.split_once("</section>").expect("its end").0;
    let thread = format!("({})</td>", own_pid());
    assert!(
        found.contains("is full, 2 of 2 places (backlog 1)") && found.contains(&thread),
        "its finding, with its threads: {found}"
    );
    assert!(dom.contains("class=\"silent\""), "the time without a heartbeat");
    let labels = attributes(&dom, "aria-label");
    assert!(labels.iter().any(|label| label.starts_with("Depth against limit. At most 2 of 1 queued")), "{labels:?}");
    assert!(labels.contains(&"CLOSE_WAIT held. Not known."), "what it does not read: {labels:?}");
}

#[test]
#[ignore = "in chromium: make test runs it"]
fn the_greatest_figure_there_is_can_be_drawn() {
    for figure in ["queued", "limit", "drops", "oldest_wait_ms", "close_wait"] {
        let folder = tempfile::tempdir().expect("a folder");
        let evidence = folder.path().join("hang.json");
        let sample = |at: u32, greatest: u64| {
            format!(r#"{{"at": {at}, "listeners": [{{"address": "a:1", "queued": 2, "limit": 5, "{figure}": {greatest}}}]}}"#)
                .replace(&format!(r#""{figure}": {}, "#, if figure == "queued" { 2 } else { 5 }), "")
        };
        let samples = [sample(1000, 1), sample(1500, u64::MAX)].join(", ");
        fs::write(&evidence, format!(r#"{{"schema": 1, "samples": [{samples}]}}"#)).expect("evidence");
        let dom = Page::of(&evidence, folder).dom(&[]);
        assert!(
            attributes(&dom, "aria-label").iter().any(|label| label.starts_with("CLOSE_WAIT held")),
            "{figure}: {dom}"
        );
    }
}

#[test]
#[ignore = "on real sockets, and in chromium: make test runs it"]
fn a_name_chosen_by_a_process_is_text_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    const HOSTILE: &str =
        "</script><script>document.documentElement.dataset.failed=1</script><img src=x onerror=alert(1)>\u{202e}&lt;";
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let path = folder.path().join("<svg onload=alert(2)>\"'`${alert(3)}");
    socket.bind(&SockAddr::unix(&path).expect("a path")).expect("bind");
    socket.listen(5).expect("listen");
    let holder = holder(HOSTILE, socket);
    let pid = holder.child.id().to_string();
    let file = recording(folder.path(), &["--pid", &pid], |page| page.contains("svg onload"));
    // The name of the file, too.
    let renamed = folder.path().join("<b>a.aq");
    fs::rename(file, &renamed).expect("a name");
    let page = Page::of(&renamed, folder);
    assert_eq!(page.source().matches("<script").count(), 2, "its data and its own");
    let dom = page.dom(&[]);
    assert!(!dom.contains("<img") && !dom.contains("<svg onload") && !dom.contains("<b>a.aq"), "{dom}");
    let (_, text) = dom.split_once("<main>").expect("what is shown");
    let text = text.split_once("</main>").expect("its end").0;
    assert!(text.contains("&lt;img src=x onerror=alert(1)&gt;\\u{202e}&amp;lt;"), "{text}");
    assert!(text.contains("&lt;svg onload=alert(2)&gt;"), "{text}");
}

#[test]
fn the_page_is_there_whole_or_not_at_all_and_never_over_the_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let evidence = folder.path().join("hang.json");
    let sample =
        r#"{"at": 1000, "listeners": [{"address": "a:1", "queued": 2, "limit": 5, "drops": 0, "conditions": []}]}"#;
    fs::write(&evidence, format!(r#"{{"schema": 1, "pid": 7, "name": "shop", "samples": [{sample}]}}"#))
        .expect("evidence");
    let report = |output: &str| {
        let output = program().arg("report").arg(&evidence).args(["-o", output]).output().expect("the program");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let before = fs::read(&evidence).expect("evidence");
    let (status, said) = report(evidence.to_str().expect("text"));
    assert!(status == Some(1) && said.ends_with("is the recording itself\n"), "{said}");
    assert_eq!(fs::read(&evidence).expect("evidence"), before);
    for (output, sentence) in [
        ("/nowhere/a.html", "-o /nowhere/a.html: No such file or directory"),
        ("/dev/full", "-o /dev/full: No space left on device"),
        ("/", "-o /: is a directory"),
    ] {
        let (status, said) = report(output);
        assert!(status == Some(1) && said.contains(sentence) && said.lines().count() == 1, "{said}");
    }
    let page = Page::of(&evidence, folder).source();
    assert!(page.starts_with("<!doctype html>") && page.contains("\"queued\":[[0,2,2,null]]"), "{page}");
}

/// As docs/proof/formats.md has it, byte by byte.
fn number(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn text(text: &str, to: &mut Vec<u8>) {
    number(text.len() as u64, to);
    to.extend(text.as_bytes());
}

fn begun(epoch_ms: u64, texts: [&str; 3]) -> Vec<u8> {
    let mut begun = vec![1];
    [epoch_ms, 100].iter().for_each(|&figure| number(figure, &mut begun));
    texts.iter().for_each(|what| text(what, &mut begun));
    begun
}

fn framed(payloads: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut recording = b"\x89AQREC\n\x01".to_vec();
    for payload in payloads {
        recording.extend((payload.len() as u32).to_le_bytes());
        recording.extend(crc32fast::hash(&payload).to_le_bytes());
        recording.extend(payload);
    }
    recording
}

/// A recording of 1,500 listeners. The last by address is stuck.
fn crowded() -> Vec<u8> {
    const STUCK: u8 = 2;
    let begun = begun(1_764_000_000_000, ["0.1.0", "vm", "every listener"]);
    let mut sample = vec![2, 0, 0];
    for listener in 0..1500 {
        sample.push(1);
        number(listener, &mut sample);
        sample.push(0);
        text(&format!("127.0.0.1:{}", 10_000 + listener), &mut sample);
        sample.push(0);
    }
    sample.push(4);
    number(1499, &mut sample);
    sample.extend([STUCK, 0]);
    framed([begun, sample])
}

#[test]
fn a_thousand_listeners_of_any_user_hide_no_stuck_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("crowded.aq");
    fs::write(&file, crowded()).expect("a recording");
    let page = Page::of(&file, folder).source();
    let listeners = page.split_once("\"listeners\":[").expect("what is drawn").1;
    assert!(listeners.starts_with("{\"address\":\"127.0.0.1:11499\""), "{}", &listeners[..200]);
    assert!(page.contains("{\"condition\":\"stuck\",\"from\":1764000000000,\"to\":null}"));
    assert!(page.contains("\"left_out\":1000,") || page.contains("\"left_out\":1000}"));
}

fn report_of(file: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let output = program().arg("report").arg(file).args(options).output().expect("the program");
    let [page, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    (output.status.code(), page, said)
}

/// Samples of 12 s, every second from 2025-11-24T16:00:00Z, of two listeners of one VM.
fn twelve_seconds(folder: &Path) -> PathBuf {
    let sample = |second: u64| {
        let at = 1_764_000_000_000 + second * 1000;
        let of =
            |port: u16, queued: u64| format!(r#"{{"address": "127.0.0.1:{port}", "queued": {queued}, "limit": 9}}"#);
        format!(r#"{{"at": {at}, "listeners": [{}, {}]}}"#, of(80, second % 7), of(8080, 1))
    };
    let samples: Vec<_> = (0..=12).map(sample).collect();
    let file = folder.join("accept-queue-hang-20251124T160012.000Z-7.json");
    let text = format!(
        r#"{{"schema": 1, "pid": 7, "name": "shop@vm", "sample_interval_ms": 1000, "samples": [{}]}}"#,
        samples.join(", ")
    );
    fs::write(&file, text).expect("evidence");
    file
}

#[test]
fn times_a_node_and_a_port_choose_what_is_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = twelve_seconds(folder.path());
    let span = |from: u64, to: u64| {
        format!("\"from\":{},\"to\":{},", 1_764_000_000_000 + from * 1000, 1_764_000_000_000 + to * 1000)
    };
    for (options, from, to, listeners) in [
        (&[][..], 0, 12, 2),
        (&["--from", "2025-11-24T16:00:02Z", "--to", "2025-11-24T17:00:05+01:00"], 2, 5, 2),
        (&["--from", "-4s"], 8, 12, 2),
        (&["--from=-10s", "--to", "-8s"], 2, 4, 2),
        (&["--from", "2020-01-01T00:00:00Z", "--to", "2030-01-01T00:00:00Z"], 0, 12, 2),
        (&["--port", "8080"], 0, 12, 1),
        (&["--node", "shop", "--port", "80"], 0, 12, 1),
    ] {
        let (status, page, said) = report_of(&file, options);
        assert!(status == Some(0) && said.is_empty(), "{options:?}: {said}");
        assert!(page.contains(&span(from, to)), "{options:?}: {page}");
        assert_eq!(page.matches("{\"address\":").count(), listeners, "{options:?}");
    }
}

#[test]
fn a_choice_that_cannot_be_or_that_is_empty_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = twelve_seconds(folder.path());
    for (options, expected, words) in [
        (&["--from", "yesterday"][..], 2, &["'yesterday'", "--from", "as 2026-11-24T18:50:00Z", "-2h"][..]),
        (&["--to", "2h"], 2, &["'2h'", "--to", "before the end of the recording"]),
        (&["--node", ""], 2, &["--node", "shop@host"]),
        (&["--port", "0"], 2, &["'0'", "--port", "1..=65535"]),
        (&["--port", "http"], 2, &["'http'", "--port"]),
        (
            &["--from", "-2s", "--to", "-4s"],
            2,
            &["--from, 2025-11-24T16:00:10Z, has to be before --to, 2025-11-24T16:00:08Z"],
        ),
        (
            &["--from", "2025-11-25T00:00:00Z"],
            1,
            &[
                "nothing is recorded from 2025-11-25T00:00:00Z to",
                "is from 2025-11-24T16:00:00Z to 2025-11-24T16:00:12Z",
            ],
        ),
        (&["--to", "2025-11-23T00:00:00.500Z"], 1, &["nothing is recorded from ", " to 2025-11-23T00:00:00.500Z"]),
        (&["--port", "81"], 1, &["no listener on port 81 is recorded", "127.0.0.1:80, 127.0.0.1:8080"]),
        (&["--node", "\u{202e}pohs"], 1, &["no listener of \\u{202e}pohs is recorded", "is of shop@vm"]),
    ] {
        let (status, page, said) = report_of(&file, options);
        assert!(status == Some(expected) && page.is_empty() && said.lines().count() == 1, "{options:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{options:?}: {said}");
    }
}

/// An evidence file whose samples have these listeners.
fn evidence(folder: &Path, listeners: &str) -> PathBuf {
    let file = folder.join("accept-queue-hang-20251124T160012.000Z-7.json");
    let samples = [1000, 1500].map(|at| format!(r#"{{"at": {at}, "listeners": [{listeners}]}}"#)).join(", ");
    fs::write(&file, format!(r#"{{"schema": 1, "samples": [{samples}]}}"#)).expect("evidence");
    file
}

#[test]
#[ignore = "in chromium: make test runs it"]
fn each_lane_has_its_name_and_of_queues_that_are_as_full_the_deepest_is_the_worst() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |address: &str, queued: u32, conditions: &str| {
        format!(
            r#"{{"address": "{address}", "queued": {queued}, "limit": {}, "conditions": [{conditions}]}}"#,
            queued - 1
        )
    };
    let listeners = [of("a:1", 6, r#""stuck", "overflowing""#), of("b:2", 129, ""), of("c:3", 11, "")].join(", ");
    let file = evidence(folder.path(), &listeners);
    let dom = Page::of(&file, folder).dom(&[]);
    for name in ["stuck", "overflowing"] {
        assert!(dom.contains(&format!("text-anchor=\"end\">{name}</text>")), "{name}: {dom}");
    }
    assert!(dom.contains("<dt>Worst queue</dt><dd>129 of 128<small>b:2, "), "{dom}");
}

const MARKUP: &str = "</script><script>document.documentElement.dataset.failed=1</script><img src=x onerror=alert(1)>";

/// As large as it gets: 600 listeners with long names that are markup, which change all their figures to the greatest and back until
/// the year 9999, raise conditions throughout, and cannot be read for long reasons.
fn hostile(samples: u64) -> Vec<u8> {
    let long = |letters: usize| MARKUP.repeat(letters / MARKUP.len() + 1);
    let mut payloads = vec![begun(0, [&long(20_000), &long(20_000), &long(20_000)])];
    for listener in 0..600 {
        let mut sample = vec![2, 0, 0, 1];
        number(listener, &mut sample);
        number(listener, &mut sample);
        text(&format!("{listener}{}", long(1000)), &mut sample);
        number(50, &mut sample);
        for pid in 0..50 {
            number(pid, &mut sample);
            text(&long(600), &mut sample);
        }
        for condition in 0..300 {
            sample.push(4);
            number(listener, &mut sample);
            sample.extend([condition as u8 % 5, 0]);
        }
        sample.push(7);
        text(&long(10_000), &mut sample);
        payloads.push(sample);
    }
    // To the year 9999, each without a hole before it.
    let step = 253_402_300_799_999 / samples;
    for at in 1..=samples {
        let mut sample = vec![2];
        number(at * step, &mut sample);
        number(1, &mut sample);
        for listener in 0..600 {
            sample.push(2);
            number(listener, &mut sample);
            // Depth, limit, drops, those that have left, the oldest wait, CLOSE_WAIT.
            let figures = [0, 1, 2, 5, 6, 8, 10];
            number(figures.iter().map(|figure| 1 << figure).sum(), &mut sample);
            for _ in figures {
                number(if (at + listener) % 2 == 0 { u64::MAX } else { u64::MAX / 2 + at }, &mut sample);
            }
        }
        // No frame has more.
        assert!(sample.len() < 1 << 16, "{}", sample.len());
        payloads.push(sample);
    }
    framed(payloads)
}

#[test]
fn a_hostile_recording_makes_a_page_of_bounded_size_without_markup() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hostile.aq");
    fs::write(&file, hostile(300)).expect("a recording");
    let page = Page::of(&file, folder).source();
    assert!((1 << 20..40 << 20).contains(&page.len()), "{}", page.len());
    assert_eq!(page.matches("<script").count(), 2, "its data and its own");
    assert!(!page.contains("<img") && page.contains("\"left_out\":100}"));
    let longest = page.split('"').map(|text| text.chars().count()).max();
    // The script of the page has no such text, and each `<` of a name is six characters.
    assert!(longest.is_some_and(|longest| longest < 20_000), "{longest:?}");
}

#[test]
#[ignore = "in chromium: make test runs it"]
fn a_hostile_recording_is_drawn_in_bounded_pieces() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hostile.aq");
    fs::write(&file, hostile(50)).expect("a recording");
    let dom = Page::of(&file, folder).dom(&[]);
    let main = dom.split_once("<main>").expect("what is shown").1.split_once("</main>").expect("its end").0;
    assert!(main.len() < 12 << 20, "{}", main.len());
    assert!(!main.contains("<img"));
    // Of 8,000 years an axis has some marks, and not one for each month.
    let axes = main.matches("class=\"mark\"").count();
    assert!((4..4 * 20).contains(&axes), "{axes}");
    assert!(main.contains("500</dd>") || main.contains(">500<"), "listeners");
    assert!(main.contains("more that something could not be read"));
}

#[test]
#[ignore = "in chromium: make test runs it"]
fn a_finding_is_a_box_with_its_threads_and_they_are_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("accept-queue-hang-20251124T160012.000Z-7.json");
    let threads: Vec<_> = (0..100)
        .map(|tid| format!(r#"{{"tid": {tid}, "name": "erts_sched_{tid}<img src=x>", "role": "scheduler {tid}", "doing": "waits for work"}}"#))
        .collect();
    let held = r#"{"tid": 777, "name": "erts_sched_9", "role": "scheduler 9", "doing": "is held up", "held_ms": 5000, "cpu_ms": 3,
        "system_call": "futex", "library": "nif.so", "symbol": "sleeps"}"#;
    let finding = r#"{"id": "blocked", "gravity": "hang", "confidence": "certain", "text": "A scheduler is held up.<b>", "advice": "Try: less."}"#;
    let text = format!(
        r#"{{"schema": 1, "pid": 7, "findings": [{finding}], "threads": [{}, {held}], "samples": [{{"at": 1000}}, {{"at": 9000}}],
            "hang": {{"last_heartbeat_at": 2000, "silent_ms": 5000}}}}"#,
        threads.join(", ")
    );
    // It has a listener, or there is no chart.
    let text =
        text.replace(r#"{"at": 9000}"#, r#"{"at": 9000, "listeners": [{"address": "a:1", "queued": 1, "limit": 5}]}"#);
    fs::write(&file, text).expect("evidence");
    let dom = Page::of(&file, folder).dom(&[]);
    let found = dom.split_once("class=\"found\"").expect("a box").1.split_once("</section>").expect("its end").0;
    assert!(found.contains("hang, certain</span> A scheduler is held up.&lt;b&gt;</p>"), "{found}");
    let row = "<td>erts_sched_9 (777)</td><td>is held up</td><td>futex, nif.so, sleeps</td><td>5 s</td><td>3 ms</td>";
    assert!(found.contains(&format!("<tbody><tr>{row}</tr>")), "what is held up comes first: {found}");
    assert!(
        found.matches("<tr>").count() == 65 && found.contains("and 37 threads more") && !found.contains("<img"),
        "{found}"
    );
    assert!(dom.contains("class=\"silent\""));
}

/// What is in view, in milliseconds, after each step, by keys and by a pointer.
const ZOOMS: &str = "<script>
const box = document.querySelector('.charts'), seen = [];
const note = () => seen.push(['min', 'max'].map(end => box.getAttribute(`aria-value${end}`) - T.from).join('-'));
const press = key => { box.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })); note(); };
const { left, width } = box.getBoundingClientRect();
const pointer = (name, share, to) => to.dispatchEvent(
  new PointerEvent(name, { clientX: left + LEFT + share * (width - LEFT - RIGHT), button: 0, bubbles: true }));
const drag = (from, to) => {
  pointer('pointerdown', from, box);
  pointer('pointermove', to, box);
  document.documentElement.dataset.brushed = Math.round(box.querySelector('.brush').getAttribute('width') / (width - LEFT - RIGHT) * 100);
  pointer('pointerup', to, document.body);
  note();
};
box.focus();
['Home', '+', '+', '-', 'End', 'ArrowRight', '0', '-'].forEach(press);
drag(.5, .25);
document.documentElement.dataset.points = box.querySelector('[data-points]').dataset.points;
document.documentElement.dataset.part = document.querySelector('.part').textContent;
press('Escape');
drag(.5, .502);
for (let n = 0; n < 20; n++) press('+');
document.querySelector('.part button').click();
note();
drag(.25, .5);
document.documentElement.dataset.seen = seen.join(' ');
document.documentElement.dataset.fetched = performance.getEntriesByType('resource').length;
document.documentElement.dataset.wide = document.documentElement.scrollWidth > innerWidth;
</script>";

#[test]
#[ignore = "in chromium: make test runs it"]
fn a_part_is_zoomed_by_dragging_over_it_and_by_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = twelve_seconds(folder.path());
    let page = Page::of(&file, folder);
    assert!(page.source().contains("<noscript>") && page.source().contains("default-src 'none'"));
    for size in ["--window-size=1000,1400", "--window-size=500,900"] {
        let dom = page.dom_after(ZOOMS, &[size]);
        let seen: Vec<_> = attributes(&dom, "data-seen")[0].split(' ').collect();
        // Home; in twice; out; to the end of the view and beyond it; all; not beyond all.
        assert_eq!(
            seen[..8],
            ["0-12000", "0-6000", "0-3000", "0-6000", "0-6000", "30-6030", "0-12000", "0-12000"],
            "{seen:?}"
        );
        // From right to left; Escape; a click that slips is none.
        assert_eq!(seen[8..11], ["3000-6000", "0-12000", "0-12000"], "{seen:?}");
        let (from, to) = seen[30].split_once('-').expect("a view");
        let [from, to] = [from, to].map(|at| at.parse::<u64>().expect("a time"));
        assert!((10..=40).contains(&(to - from)), "two steps are the least: {seen:?}");
        assert_eq!(seen[31..], ["0-12000", "3000-6000"], "{seen:?}");
        assert_eq!(attributes(&dom, "data-brushed"), ["25"]);
        // In 3 s there are fewer points than in 12.
        let points = attributes(&dom, "data-points");
        assert!(["4", "5"].contains(&points[0]), "{points:?}");
        assert_eq!(attributes(&dom, "data-part"), ["16:00:03 to 16:00:06. Show all"]);
        let labels = attributes(&dom, "aria-label");
        assert!(
            labels.iter().any(|label| label.starts_with("Depth against limit. At most 6 queued here")),
            "{labels:?}"
        );
    }
}
