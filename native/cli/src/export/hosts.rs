//! By which names a request may call the exporter. Pure.
//!
//! A page in a browser may read only from the host it came from, and a host is a name. Whoever owns a name may let it lead to
//! 127.0.0.1, or to an address inside (DNS rebinding), and his page then reads the metrics from there. So on loopback a name must be
//! one of ours. On another address the default takes any name, for only the configuration of a Prometheus knows by which it scrapes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;
use hyper::http::uri::Authority;

/// The names that are answered to, beside addresses and localhost.
#[derive(Debug)]
pub(super) struct Hosts {
    /// `None`: any.
    names: Option<Vec<String>>,
}

impl Hosts {
    /// `given`: by `--host`; `own`: the names of the machine, and the one in `--listen`.
    pub(super) fn new(given: &[String], own: impl IntoIterator<Item = String>, at: IpAddr) -> Hosts {
        let is_checked = at.to_canonical().is_loopback() || !given.is_empty();
        let names = || given.iter().cloned().chain(own).map(|name| bare(&name)).collect();
        Hosts { names: is_checked.then(names) }
    }

    /// Whether a request means this exporter. One without a host is no browser's.
    pub(super) fn are_meant<B>(&self, request: &Request<B>) -> bool {
        let Some(names) = &self.names else { return true };
        let in_headers = request.headers().get_all(HOST).into_iter().map(|host| host.to_str().ok());
        let in_target = request.uri().authority().map(|authority| Some(authority.as_str()));
        in_headers.chain(in_target).all(|host| host.is_some_and(|host| is_meant(names, host)))
    }
}

fn is_meant(names: &[String], host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = bare(authority.host());
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = match inside {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    };
    is_address || host == "localhost" || (!host.is_empty() && names.contains(&host))
}

/// The dot of the root makes no other name.
fn bare(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(given: &[&str], at: &str) -> Hosts {
        let given: Vec<_> = given.iter().map(|&name| name.to_owned()).collect();
        Hosts::new(&given, ["Shop01".to_owned()], at.parse().expect("an address"))
    }

    fn request(target: &str, hosts: &[&str]) -> Request<()> {
        let request = hosts.iter().fold(Request::get(target), |request, &host| request.header(HOST, host));
        request.body(()).expect("a request")
    }

    #[test]
    fn on_loopback_a_name_has_to_be_ours() {
        let hosts = hosts(&["metrics.example.org"], "127.0.0.1");
        for (host, is_ours) in [
            ("127.0.0.1:9700", true),
            ("10.0.0.5", true),
            ("[::1]:9700", true),
            ("[::ffff:10.0.0.5]", true),
            ("localhost", true),
            ("LocalHost.:9700", true),
            ("shop01:9700", true),
            ("Metrics.Example.Org:80", true),
            ("evil.example", false),
            ("evil.example:9700", false),
            ("shop01.evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.1", false),
            ("[evil.example]", false),
            ("evil.example@127.0.0.1", true),
            ("127.0.0.1@evil.example", false),
            ("127.0.0.1/evil", false),
            ("", false),
            (".", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(hosts.are_meant(&request("/metrics", &[host])), is_ours, "{host}");
        }
        assert!(hosts.are_meant(&request("/metrics", &[])), "HTTP/1.0");
        assert!(!hosts.are_meant(&request("/metrics", &["localhost", "evil.example"])));
        assert!(!hosts.are_meant(&request("http://evil.example/metrics", &["localhost"])));
        assert!(hosts.are_meant(&request("http://localhost/metrics", &["localhost"])));
    }

    #[test]
    fn elsewhere_any_name_will_do_until_one_is_given() {
        let evil = request("/metrics", &["evil.example"]);
        for at in ["0.0.0.0", "::", "10.0.0.5"] {
            assert!(hosts(&[], at).are_meant(&evil), "{at}");
            assert!(!hosts(&["shop"], at).are_meant(&evil), "{at}");
            assert!(hosts(&["shop"], at).are_meant(&request("/", &["shop:9700"])), "{at}");
        }
        for at in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(!hosts(&[], at).are_meant(&evil), "{at}");
        }
    }
}
