//! HTTP for a scraper, bounded for every other client: one request a connection, ten seconds for it, eight kilobytes of headers,
//! and 64 connections, of which the oldest is closed for the next. A silent client keeps no other out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Message;
use super::hosts::Hosts;
use super::negotiation::{Form, form};

const MOST_CONNECTIONS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_HEADER_BYTES: usize = 8 * 1024;
/// Before the next accept after one that failed, for lack of descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);

/// The name is not repeated: a client chose it.
const NOT_MEANT: &str = "accept-queue: the host of this request is no name of this exporter. Ask for it by address, as localhost or by \
the machine's name, or start it with --host NAME. Against DNS rebinding: docs/prometheus.md\n";
const INDEX: &str = "accept-queue: the metrics are at /metrics\n";

/// Returns only if it cannot start.
pub(super) fn serve(listener: TcpListener, hosts: Hosts, messages: Sender<Message>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let hosts = Arc::new(hosts);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut connections: VecDeque<AbortHandle> = VecDeque::with_capacity(MOST_CONNECTIONS);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            connections.retain(|connection| !connection.is_finished());
            if connections.len() >= MOST_CONNECTIONS
                && let Some(oldest) = connections.pop_front()
            {
                oldest.abort();
            }
            connections.push_back(tokio::spawn(serve_one(stream, Arc::clone(&hosts), messages.clone())).abort_handle());
        }
    })
}

/// One connection. Its errors concern the client alone.
async fn serve_one(stream: TcpStream, hosts: Arc<Hosts>, messages: Sender<Message>) {
    let answer = service_fn(move |request| {
        let (hosts, messages) = (Arc::clone(&hosts), messages.clone());
        async move { Ok::<_, Infallible>(answer(&request, &hosts, &messages).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(MOST_HEADER_BYTES);
    let _ = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await;
}

async fn answer(request: &Request<Incoming>, hosts: &Hosts, messages: &Sender<Message>) -> Response<Full<Bytes>> {
    if !hosts.are_meant(request) {
        return plain(StatusCode::MISDIRECTED_REQUEST, NOT_MEANT);
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    match request.uri().path() {
        "/" | "/metrics" if !is_read => {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refusal
        }
        "/" => plain(StatusCode::OK, INDEX),
        "/metrics" => metrics(form(request.headers()), messages).await,
        _ => plain(StatusCode::NOT_FOUND, INDEX),
    }
}

async fn metrics(form: Form, messages: &Sender<Message>) -> Response<Full<Bytes>> {
    let (answer, page) = oneshot::channel();
    // Where it cannot be sent, none will come.
    let _ = messages.send(Message::Scrape(form, answer));
    match page.await {
        Ok(Ok(page)) => {
            let mut response = Response::new(Full::new(page));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, form.format.content_type());
            headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
            if form.is_gzipped {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Ok(Err(error)) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the exporter is ending\n"),
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
