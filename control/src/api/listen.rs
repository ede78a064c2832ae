//! Probes and metrics over TCP, for the kubelet and for Prometheus; `--listen`.
//!
//! Served by a thread of its own, so that an answer does not wait for the control loop, nor that for an
//! answer. It is there from before the gateway starts, and says so.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{Exposition, Liveness, Readiness};
use crate::agent::Gateway;

/// Why there are no probes.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is not to be had.
    #[error("--listen {address}: {source}; choose an address of this machine and a free port")]
    Bind {
        /// As it was given.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread could not be made.
    #[error("--listen {address}: cannot start the thread that answers: {source}")]
    Thread {
        /// As it was given.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A thread that answers. Dropping this ends it.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    asked: Arc<Asked>,
    _end: oneshot::Sender<()>,
}

/// Who is asked.
#[derive(Debug, Default)]
struct Asked {
    gateway: OnceLock<Arc<Gateway>>,
    /// One scrape at a time: a crowd of scrapers costs no more than one.
    scrape: tokio::sync::Mutex<()>,
}

/// Listens on `address`, in this thread's network namespace.
pub fn listen(address: SocketAddr) -> Result<Listening, ListenError> {
    let bind = |source| ListenError::Bind { address, source };
    let thread = |source| ListenError::Thread { address, source };
    let socket = TcpListener::bind(address).map_err(bind)?;
    socket.set_nonblocking(true).map_err(bind)?;
    let address = socket.local_addr().map_err(bind)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
    let asked = Arc::new(Asked::default());
    let (end, ended) = oneshot::channel::<()>();
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&asked));
    let serve = async move {
        let served = async { axum::serve(tokio::net::TcpListener::from_std(socket)?, router).await };
        tokio::select! {
            served = served => if let Err(error) = served {
                tracing::error!(%error, "probes and metrics are no longer answered");
            },
            // The other end is gone.
            _ = ended => {}
        }
    };
    std::thread::Builder::new()
        .name("podgate-http".into())
        .spawn(move || {
            runtime.block_on(serve);
            // Who is still being answered does not hold up the end.
            runtime.shutdown_background();
        })
        .map_err(thread)?;
    tracing::info!(%address, "answering /healthz, /readyz and /metrics");
    Ok(Listening { address, asked, _end: end })
}

impl Listening {
    /// Where.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `gateway` is asked.
    pub fn attach(&self, gateway: Arc<Gateway>) {
        // Only once: a process has one gateway.
        let _ = self.asked.gateway.set(gateway);
    }
}

/// While the gateway starts, it lives: it may have to wait for the Kubernetes API.
async fn healthz(State(asked): State<Arc<Asked>>, headers: HeaderMap) -> Response {
    let starting = || Liveness { alive: true, reasons: Vec::new() };
    let liveness = asked.gateway.get().map_or_else(starting, |gateway| gateway.liveness());
    said(liveness.alive, &headers, &liveness)
}

async fn readyz(State(asked): State<Arc<Asked>>, headers: HeaderMap) -> Response {
    let readiness = match asked.gateway.get().cloned() {
        None => Ok(Readiness::starting()),
        Some(gateway) => tokio::task::spawn_blocking(move || gateway.readiness()).await,
    };
    match readiness {
        Ok(readiness) => said(readiness.ready, &headers, &readiness),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(asked): State<Arc<Asked>>, headers: HeaderMap) -> Response {
    let Some(gateway) = asked.gateway.get().cloned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, Readiness::starting().to_string()).into_response();
    };
    let _turn = asked.scrape.lock().await;
    let exposition = Exposition::for_accept(accepted(&headers));
    let written = tokio::task::spawn_blocking(move || exposition.write(gateway.measures())).await;
    match written {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn accepted(headers: &HeaderMap) -> &str {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default()
}

/// As JSON to who asks for that, as text to others.
fn said(good: bool, headers: &HeaderMap, what: &(impl Serialize + std::fmt::Display)) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if accepted(headers).contains("application/json") {
        (status, axum::Json(what)).into_response()
    } else {
        (status, what.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn ask(address: SocketAddr, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn before_the_gateway_has_started_it_lives_and_is_not_ready() {
        let listening = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let asked = |path, accept| ask(listening.address(), path, accept);
        assert!(asked("/healthz", "*/*").starts_with("HTTP/1.1 200 "));
        let ready = asked("/readyz", "*/*");
        assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("the gateway is starting"), "{ready}");
        let json = asked("/readyz", "application/json");
        let json: Readiness = serde_json::from_str(json.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(json, Readiness::starting());
        assert!(asked("/metrics", "*/*").starts_with("HTTP/1.1 503 "));
        assert!(asked("/", "*/*").starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn an_address_in_use_is_refused_with_the_remedy() {
        let listening = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(listening.address()).unwrap_err().to_string();
        assert!(error.contains(&listening.address().to_string()) && error.contains("a free port"), "{error}");
    }
}
