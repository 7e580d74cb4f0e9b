//! `accept-queue export` from a scraper, and from other clients.

mod running;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use running::{DEADLINE, Running, connect, holder, lines, listen, own_pid, program, until};

struct Exporter {
    running: Running,
    at: SocketAddr,
}

fn export(options: &[&str]) -> Exporter {
    export_at("127.0.0.1:0", options)
}

fn export_at(address: &str, options: &[&str]) -> Exporter {
    let mut running = Running::start(program().args(["export", "--listen", address]).args(options));
    let said =
        lines(running.child.stderr.take().expect("its errors")).recv_timeout(DEADLINE).expect("where it listens");
    let at = said.strip_prefix("accept-queue: metrics at http://").and_then(|rest| rest.strip_suffix("/metrics"));
    Exporter { running, at: at.and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("{said}")) }
}

impl Exporter {
    fn request(&self, head: &str) -> String {
        ask(self.at, head)
    }

    /// The lines of the metrics.
    fn scrape(&self) -> Vec<String> {
        let answer = self.request("GET /metrics HTTP/1.1\r\nHost: localhost");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
        body.lines().map(str::to_owned).collect()
    }
}

fn ask(at: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("patience");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The metrics for these headers, and the head of the answer.
fn page(exporter: &Exporter, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(exporter.at).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("patience");
    stream
        .write_all(format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes())
        .expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).expect("a head").to_ascii_lowercase(), body)
}

/// The metrics and labels in a page.
fn series(page: &[u8]) -> BTreeSet<String> {
    let page = std::str::from_utf8(page).expect("text");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

/// The value of the line of this metric of this listener.
fn value(lines: &[String], metric: &str, labels: &[&str]) -> Option<f64> {
    let is_it = |line: &&String| {
        line.strip_prefix("accept_queue_")
            .and_then(|line| line.strip_prefix(metric))
            .is_some_and(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)))
    };
    lines.iter().find(is_it)?.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn a_scrape_has_each_figure_that_is_known_and_no_other() {
    let (_socket, at) = listen(1);
    let exporter = export(&["--pid", &own_pid(), "--interval", "20ms"]);
    let listener = &format!("listener=\"{at}\"");
    let of = |metric: &str, more: &str| value(&exporter.scrape(), metric, &[listener, more]);
    assert_eq!(of("limit", ""), Some(1.0));
    assert_eq!(of("connections", "state=\"alive\""), Some(0.0));
    assert_eq!(of("oldest_wait_seconds", ""), None, "no connection waits");
    let _clients = [connect(at), connect(at), connect(at)];
    until(|| (of("connections", "state=\"alive\"") == Some(2.0)).then_some(()));
    until(|| (of("condition", "condition=\"overflowing\"") == Some(1.0)).then_some(()));
    let lines = exporter.scrape();
    for metric in ["oldest_wait_seconds", "dropped_packets_total", "peak_connections"] {
        assert!(value(&lines, metric, &[listener]) > Some(0.0), "{metric}: {lines:#?}");
    }
    for (metric, label, figure) in [
        ("queued_connections", "", 2.0),
        ("connections", "state=\"closed\"", 0.0),
        ("connections", "state=\"reset\"", 0.0),
        ("accepted_connections", "state=\"close_wait\"", 0.0),
        ("condition", "condition=\"stuck\"", 0.0),
        ("sockets", "", 1.0),
    ] {
        assert_eq!(value(&lines, metric, &[listener, label]), Some(figure), "{metric} {label}");
    }
    for (metric, figure) in [("up", 1.0), ("unreadable_processes", 0.0), ("omitted_listeners", 0.0)] {
        assert_eq!(value(&lines, metric, &[]), Some(figure), "{metric}");
    }
    assert!(value(&lines, "kernel_listen_overflows_total", &[]).is_some());
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&lines, "build_info", &[&version]), Some(1.0));
    assert_eq!(value(&lines, "process_info", &[&format!("pid=\"{}\"", own_pid())]), Some(1.0));
    assert!(lines.iter().all(|line| !line.contains("pid=") || line.contains("process_info{")), "{lines:#?}");
    let [all, last] =
        ["sampling_seconds_total", "last_sample_duration_seconds"].map(|metric| value(&lines, metric, &[]));
    assert!(last > Some(0.0) && all > last, "{all:?} {last:?}");
    assert!(lines.iter().all(|line| !line.contains("netns=")), "it is our own");
}

#[test]
fn only_what_there_is_is_served_and_only_to_readers() {
    let exporter = export(&["--pid", &own_pid()]);
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: localhost", "200 OK"),
        ("GET /metrics?x=1 HTTP/1.0", "200 OK"),
        ("GET /metrics/ HTTP/1.1\r\nHost: localhost", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", "405 Method Not Allowed"),
        ("DELETE / HTTP/1.1\r\nHost: localhost", "405 Method Not Allowed"),
        ("nonsense", "400 Bad Request"),
        (&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9000)), "431 Request Header Fields Too Large"),
    ] {
        let answer = exporter.request(head);
        assert_eq!(
            answer.lines().next().and_then(|line| line.split_once(' ')).map(|line| line.1),
            Some(status),
            "{head}"
        );
    }
    let head = exporter.request("HEAD /metrics HTTP/1.1\r\nHost: localhost");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
}

const OPEN_METRICS: &str =
    "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";

#[test]
fn openmetrics_is_for_those_who_ask_for_it_and_has_the_same_series() {
    let (_socket, _) = listen(5);
    let exporter = export(&["--pid", &own_pid()]);
    let (head, open) = page(&exporter, OPEN_METRICS);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.starts_with("http/1.1 200 ") && head.contains(kind), "{head}");
    assert!(head.contains("vary: accept, accept-encoding\r\n") && !head.contains("content-encoding"), "{head}");
    let text = String::from_utf8_lossy(&open);
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    for line in [
        "# TYPE accept_queue_samples counter",
        "# TYPE accept_queue_build info",
        "# TYPE accept_queue_process info",
        "# TYPE accept_queue_limit gauge",
        "# UNIT accept_queue_queued_bytes bytes",
        "# UNIT accept_queue_sampling_seconds seconds",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    for headers in ["", "Accept: */*\r\n", "Accept: text/html, application/openmetrics-text;version=9.0.0\r\n"] {
        let (head, body) = page(&exporter, headers);
        assert!(head.contains("content-type: text/plain; version=0.0.4\r\n"), "{headers}: {head}");
        assert_eq!(series(&body), series(&open), "{headers}");
    }
}

#[test]
fn a_page_is_compressed_for_those_who_take_gzip() {
    let (_socket, _) = listen(5);
    let exporter = export(&["--pid", &own_pid()]);
    for accept in ["", OPEN_METRICS] {
        let (head, body) = page(&exporter, &format!("{accept}Accept-Encoding: gzip\r\n"));
        assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut text).expect("gzip");
        assert!(body.len() * 3 < text.len(), "{} of {} bytes", body.len(), text.len());
        assert_eq!(series(&text), series(&page(&exporter, accept).1));
    }
    let (head, body) = page(&exporter, "Accept-Encoding: gzip;q=0, br\r\n");
    assert!(!head.contains("content-encoding") && body.starts_with(b"# HELP"), "{head}");
}

#[test]
fn a_name_that_is_not_ours_is_refused_on_loopback_and_elsewhere_once_one_is_given() {
    let status = |exporter: &Exporter, path: &str, host: &str| {
        let answer = exporter.request(&format!("GET {path} HTTP/1.1\r\nHost: {host}"));
        (answer.lines().next().and_then(|line| line.split(' ').nth(1)).map(str::to_owned), answer)
    };
    let on_loopback = export(&["--pid", &own_pid(), "--host", "queues.example.org", "--host", "other"]);
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("its name");
    for host in ["127.0.0.1:9700", "[::1]", "localhost", "queues.example.org:80", "OTHER", machine.trim()] {
        assert_eq!(status(&on_loopback, "/metrics", host).0.as_deref(), Some("200"), "{host}");
    }
    for (path, host) in [("/metrics", "evil.example"), ("/", "evil.example:9700"), ("/none", "example.org")] {
        let (code, answer) = status(&on_loopback, path, host);
        assert_eq!(code.as_deref(), Some("421"), "{answer}");
        assert!(answer.contains("--host NAME") && !answer.contains("accept_queue_up"), "{answer}");
        assert!(!answer.contains(host), "what a client chose is not repeated: {answer}");
    }
    for (more, code) in [(&[][..], "200"), (&["--host", "queues.example.org"], "421")] {
        let everywhere = export_at("0.0.0.0:0", &[&["--pid", &own_pid()], more].concat());
        assert_eq!(status(&everywhere, "/metrics", "some.name").0.as_deref(), Some(code));
        assert_eq!(status(&everywhere, "/metrics", "queues.example.org").0.as_deref(), Some("200"));
    }
    for name in ["evil.example:80", "", "*", "a..b", "http://a"] {
        let output = program().args(["export", "--host", name]).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("a host is a name without a port"), "{name}: {said}");
    }
}

#[test]
fn two_hundred_silent_clients_keep_no_other_out() {
    let exporter = export(&["--pid", &own_pid()]);
    let _silent: Vec<_> = (0..100).map(|_| TcpStream::connect(exporter.at).expect("a connection")).collect();
    let mut halves: Vec<_> = (0..100).map(|_| TcpStream::connect(exporter.at).expect("a connection")).collect();
    for half in &mut halves {
        // The exporter may have ended it for another.
        let _ = half.write_all(b"GET /metrics HTT");
    }
    assert_eq!(value(&exporter.scrape(), "up", &[]), Some(1.0));
    let held = std::fs::read_dir(format!("/proc/{}/fd", exporter.running.child.id())).expect("its descriptors").count();
    assert!(held < 64 + 32, "{held} descriptors");
}

#[test]
fn a_process_that_ends_takes_its_figures_with_it_and_the_exporter_says_so() {
    let (socket, at) = listen(5);
    let holder = holder("holder", socket);
    let exporter = export(&["--pid", &holder.child.id().to_string(), "--interval", "20ms"]);
    assert!(value(&exporter.scrape(), "limit", &[&at.to_string(), "process=\"holder\""]).is_some());
    drop(holder);
    let lines = until(|| Some(exporter.scrape()).filter(|lines| value(lines, "up", &[]) == Some(0.0)));
    assert_eq!(value(&lines, "limit", &[]), None, "{lines:#?}");
}

#[test]
fn a_signal_ends_it_with_success() {
    let mut exporter = export(&["--pid", &own_pid()]);
    exporter.running.signal("TERM");
    assert_eq!(until(|| exporter.running.child.try_wait().expect("ours")).code(), Some(0));
}

#[test]
fn an_address_may_be_a_name_or_a_port_alone() {
    for address in ["localhost:0", ":0"] {
        let mut running = Running::start(program().args(["export", "--pid", &own_pid(), "--listen", address]));
        let said =
            lines(running.child.stderr.take().expect("its errors")).recv_timeout(DEADLINE).expect("where it listens");
        assert!(said.starts_with("accept-queue: metrics at http://"), "{said}");
    }
}

#[test]
fn an_address_that_cannot_be_had_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for (address, status, sentence) in [
        ("9700", 2, "invalid value '9700'"),
        ("127.0.0.1", 2, "invalid value '127.0.0.1'"),
        (":http", 2, ":9700 for every address"),
        ("127.0.0.1:65536", 2, "invalid value '127.0.0.1:65536'"),
        ("\x1b[2J", 2, "invalid value ''"),
        ("no.such.name.invalid:9700", 1, "no.such.name.invalid:9700: there is no such address or name"),
        ("192.0.2.1:9700", 1, "cannot listen on 192.0.2.1:9700: Cannot assign requested address"),
        (&taken, 1, "Address already in use"),
    ] {
        let output = program().args(["export", "--pid", &own_pid(), "--listen", address]).output();
        let output = output.expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(status), 1), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
#[ignore = "needs promtool, of the Debian package prometheus"]
fn promtool_has_no_complaint_about_the_metrics() {
    let (_socket, at) = listen(5);
    let _client = connect(at);
    let exporter = export(&["--pid", &own_pid()]);
    let lines = until(|| Some(exporter.scrape()).filter(|lines| value(lines, "oldest_wait_seconds", &[]).is_some()));
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool");
    let text = lines.join("\n") + "\n";
    promtool.stdin.take().expect("its input").write_all(text.as_bytes()).expect("the metrics");
    let output = promtool.wait_with_output().expect("its verdict");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
#[ignore = "needs prometheus, of the Debian package"]
fn a_real_prometheus_scrapes_it_and_answers_a_query() {
    let (_socket, at) = listen(5);
    let _clients = [connect(at), connect(at)];
    let exporter = export(&["--pid", &own_pid()]);
    let folder = std::env::temp_dir().join(format!("accept-queue-prometheus-{}", own_pid()));
    std::fs::create_dir(&folder).expect("a folder");
    let config = folder.join("prometheus.yml");
    let job = format!(
        "scrape_configs:\n- job_name: queues\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  static_configs:\n  - \
         targets: ['{}']\n",
        exporter.at
    );
    std::fs::write(&config, job).expect("a configuration");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a free port");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display())).arg(format!("--web.listen-address={free}"));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    let prometheus = Running::start(&mut command);
    let query = |metric: &str| {
        let query = format!("GET /api/v1/query?query={metric}%7Blistener%3D%22{at}%22%7D HTTP/1.0\r\nHost: here");
        until(|| {
            TcpStream::connect(free).ok()?;
            let answer = ask(free, &query);
            let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
            body["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
        })
    };
    assert_eq!(query("accept_queue_limit"), "5");
    assert_eq!(query("accept_queue_queued_connections"), "2");
    // The unit is known only where OpenMetrics has been read.
    let metadata = ask(free, "GET /api/v1/targets/metadata?metric=accept_queue_queued_bytes HTTP/1.0\r\nHost: here");
    assert!(metadata.contains(r#""unit":"bytes""#), "{metadata}");
    drop(prometheus);
    std::fs::remove_dir_all(&folder).expect("the folder");
}
