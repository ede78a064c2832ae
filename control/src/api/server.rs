//! HTTP over the instance's unix socket.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::cni;
use super::{EventFilter, EventLine, FlowFilter, Flushed, Wanted};
use crate::agent::{Door, Gateway};
use crate::model::ObjectKey;

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It could not be made.
    #[error("cannot listen on {}: {source}", .path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Listens on `path`, for root alone, and answers until the returned future is dropped.
pub fn serve(
    path: &Path,
    gateway: Arc<Gateway>,
    door: Door,
) -> Result<impl Future<Output = ()> + use<>, ServeError> {
    let failed = |source| ServeError::Listen { path: path.into(), source };
    // Left behind by a gateway that was killed; the instance's lock is ours.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/policy", get(policy))
        .route("/v1/policies/{namespace}/{name}", get(policy_in_force))
        .route("/v1/events", get(events))
        .route("/v1/objects", get(objects))
        .route("/v1/flows", get(flows).delete(flush))
        .with_state(Arc::clone(&gateway))
        .merge(cni::routes(gateway, door));
    Ok(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the local socket is no longer served");
        }
    })
}

/// How long a client is kept waiting for what it wants in force.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

async fn status(State(gateway): State<Arc<Gateway>>, Query(wanted): Query<Wanted>) -> Response {
    gateway.count_at_fence().await;
    Json(gateway.when_in_force(&wanted, IN_FORCE_WITHIN).await).into_response()
}

/// Writing down a large cluster takes a while: on a thread of its own.
async fn objects(State(gateway): State<Arc<Gateway>>) -> Response {
    match tokio::task::spawn_blocking(move || gateway.in_force()).await {
        Ok(Some(in_force)) => Json(in_force).into_response(),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "no policy is in force yet").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn policy(State(gateway): State<Arc<Gateway>>) -> Response {
    Json(gateway.policy_stats()).into_response()
}

async fn policy_in_force(
    State(gateway): State<Arc<Gateway>>,
    UrlPath((namespace, name)): UrlPath<(String, String)>,
) -> Response {
    Json(gateway.policy_in_force(&ObjectKey { namespace, name })).into_response()
}

async fn events(State(gateway): State<Arc<Gateway>>, Query(filter): Query<EventFilter>) -> Response {
    let (past, coming) = gateway.history().subscribe();
    let mut past: Vec<_> = past.into_iter().filter(|record| filter.admits(record)).collect();
    if let Some(last) = filter.last {
        past.drain(..past.len().saturating_sub(last));
    }
    let past = stream::iter(past);
    let past = past.map(|record| line(&*record));
    let lines: Pin<Box<dyn Stream<Item = Bytes> + Send>> = if filter.follow {
        let coming = stream::unfold(coming, |mut coming| async move {
            match coming.recv().await {
                Ok(record) => Some((Ok(record), coming)),
                // This reader was too slow for some; it goes on with what is kept.
                Err(RecvError::Lagged(lost)) => Some((Err(lost), coming)),
                Err(RecvError::Closed) => None,
            }
        });
        let wanted = coming.filter_map(move |heard| {
            std::future::ready(match heard {
                Ok(record) => filter.admits(&record).then(|| line(&*record)),
                Err(lost) => Some(line(&EventLine::Lost { lost })),
            })
        });
        Box::pin(past.chain(wanted))
    } else {
        Box::pin(past)
    };
    let lines = lines.map(Ok::<_, Infallible>);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Chunks of lines under way to a reader; it is waited for, not stored up for.
const CHUNKS: usize = 4;
const CHUNK_LEN_BYTES: usize = 1 << 16;

/// Walking the table takes a thread of its own: the gateway goes on meanwhile.
async fn flows(State(gateway): State<Arc<Gateway>>, Query(filter): Query<FlowFilter>) -> Response {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let mut chunk = Vec::with_capacity(CHUNK_LEN_BYTES);
        let reader = gateway.flow_reader();
        for record in reader.records(&filter) {
            chunk.extend_from_slice(&line(&record));
            // An error means that nobody reads any more.
            if chunk.len() >= CHUNK_LEN_BYTES
                && sender.blocking_send(Bytes::from(std::mem::take(&mut chunk))).is_err()
            {
                return;
            }
        }
        let _ = sender.blocking_send(Bytes::from(chunk));
    });
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), receiver))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(chunks)).into_response()
}

async fn flush(State(gateway): State<Arc<Gateway>>, Query(filter): Query<FlowFilter>) -> Response {
    let removed = tokio::task::spawn_blocking(move || gateway.flow_reader().flush(&filter)).await;
    match removed {
        Ok(removed) => Json(Flushed { removed }).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn line(said: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(said).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
