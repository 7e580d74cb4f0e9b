//! What a client asks for by Accept and Accept-Encoding (RFC 9110, 12.5) -> the form of a page. Pure.
//!
//! Nobody is refused: a client that asks for something else gets the text format of Prometheus, as it is.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use super::format::Format;

/// What a page may be asked for as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) format: Format,
    pub(super) is_gzipped: bool,
}

/// OpenMetrics where it is named and wanted as much as text is; compressed where gzip is named and wanted as much as the plain bytes.
pub(super) fn form(headers: &HeaderMap) -> Form {
    let accepted = preferences(headers, &ACCEPT);
    let open = weight(&accepted, |name, version| {
        name == "application/openmetrics-text" && version.is_none_or(|version| version == "1.0.0")
    });
    let text = weight(&accepted, |name, _| name == "text/plain").or(weight(&accepted, |name, _| name == "text/*"));
    let codings = preferences(headers, &ACCEPT_ENCODING);
    let gzip = weight(&codings, |name, _| ["gzip", "x-gzip"].contains(&name));
    let identity = weight(&codings, |name, _| name == "identity");
    Form {
        format: if is_preferred(open, text) { Format::OpenMetrics } else { Format::Prometheus },
        is_gzipped: is_preferred(gzip, identity),
    }
}

fn is_preferred(weight: Option<f32>, other: Option<f32>) -> bool {
    weight.is_some_and(|weight| weight > 0.0 && other.is_none_or(|other| weight >= other))
}

struct Preference {
    name: String,
    version: Option<String>,
    weight: f32,
}

fn preferences(headers: &HeaderMap, header: &HeaderName) -> Vec<Preference> {
    let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(preference).collect()
}

fn preference(text: &str) -> Preference {
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    let mut preference = Preference { name: parts.next().unwrap_or_default(), version: None, weight: 1.0 };
    for part in parts {
        match part.split_once('=') {
            // A weight that is none is no wish.
            Some(("q", weight)) => preference.weight = weight.parse().unwrap_or(0.0),
            Some(("version", version)) => preference.version = Some(version.trim_matches('"').to_owned()),
            _ => {}
        }
    }
    preference
}

/// The greatest weight of those that are meant.
fn weight(preferences: &[Preference], is_meant: impl Fn(&str, Option<&str>) -> bool) -> Option<f32> {
    let meant = preferences.iter().filter(|preference| is_meant(&preference.name, preference.version.as_deref()));
    meant.map(|preference| preference.weight).reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn asked(header: HeaderName, values: &[&str]) -> Form {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&header, HeaderValue::from_str(value).expect("a header"));
        }
        form(&headers)
    }

    #[test]
    fn openmetrics_is_for_those_who_want_it_as_much_as_text() {
        for (accept, format) in [
            (&[][..], Format::Prometheus),
            // Prometheus 2.42 and 3.0.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                Format::OpenMetrics,
            ),
            (
                &[
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ],
                Format::OpenMetrics,
            ),
            (&["Application/OpenMetrics-Text; Version=\"1.0.0\""], Format::OpenMetrics),
            (&["application/openmetrics-text"], Format::OpenMetrics),
            (&["text/plain;q=0.5", "application/openmetrics-text;q=0.5"], Format::OpenMetrics),
            (&["text/plain", "application/openmetrics-text;q=0.9"], Format::Prometheus),
            (&["text/plain;version=0.0.4"], Format::Prometheus),
            // A browser, curl.
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Format::Prometheus),
            (&["*/*"], Format::Prometheus),
            (&["application/openmetrics-text;version=0.0.1"], Format::Prometheus),
            (&["application/openmetrics-text;version=2.0.0"], Format::Prometheus),
            (&["application/openmetrics-text;q=0"], Format::Prometheus),
            (&["application/openmetrics-text;q=much"], Format::Prometheus),
            (&[",;=,;;q,"], Format::Prometheus),
        ] {
            assert_eq!(asked(ACCEPT, accept), Form { format, is_gzipped: false }, "{accept:?}");
        }
    }

    #[test]
    fn gzip_is_for_those_who_name_it() {
        for (encodings, is_gzipped) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["deflate, GZIP;q=1.0, br"], true),
            (&["br", "x-gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip, identity;q=0.5"], true),
            (&["identity"], false),
            (&["*"], false),
            (&["br, zstd"], false),
        ] {
            assert_eq!(asked(ACCEPT_ENCODING, encodings).is_gzipped, is_gzipped, "{encodings:?}");
        }
    }
}
