//! The command line's end of the local socket.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    EventFilter, EventLine, FlowFilter, FlowRecord, Flushed, InForce, Lines, PolicyInForce, PolicyStats,
    Status, Wanted,
};
use crate::model::ObjectKey;

/// Why a running gateway could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error(
        "no gateway answers at {}: {source}; is one running (podgate run, podgate lab up), and is --name right?",
        .path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("the gateway at {} broke off: {reason}", .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// It answered something else than expected.
    #[error("the gateway at {} answered {status} to {request}; is it of another version?", .path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What was asked.
        request: String,
        /// The HTTP status.
        status: u16,
    },
}

/// A running gateway, to be asked.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The gateway behind the socket at `path`. Nothing is asked yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// How it is.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let response = self.ask(Method::GET, "/v1/status").await?;
        self.read(response).await
    }

    /// How it is once that is in force, or after ten seconds.
    pub async fn when_in_force(&self, wanted: &Wanted) -> Result<Status, ClientError> {
        let revision = wanted.revision.map(|revision| format!("revision={revision}&")).unwrap_or_default();
        let epoch = wanted.epoch.map(|epoch| format!("epoch={epoch}&")).unwrap_or_default();
        let request = format!("/v1/status?{revision}{epoch}pods={}", escape(&wanted.pods));
        let response = self.ask(Method::GET, &request).await?;
        self.read(response).await
    }

    /// What the policy in force was compiled from.
    pub async fn in_force(&self) -> Result<InForce, ClientError> {
        let response = self.ask(Method::GET, "/v1/objects").await?;
        self.read(response).await
    }

    /// One policy as it is in force.
    pub async fn policy_in_force(&self, policy: &ObjectKey) -> Result<PolicyInForce, ClientError> {
        // Neither of them may hold what has a meaning in a path.
        let request = format!("/v1/policies/{}/{}", escape(&policy.namespace), escape(&policy.name));
        let response = self.ask(Method::GET, &request).await?;
        self.read(response).await
    }

    /// How large its policy is, and how long the last change took.
    pub async fn policy_stats(&self) -> Result<PolicyStats, ClientError> {
        let response = self.ask(Method::GET, "/v1/policy").await?;
        self.read(response).await
    }

    /// What happened, and with `follow` what happens.
    pub async fn events(&self, filter: &EventFilter) -> Result<Lines<EventLine>, ClientError> {
        let mut query = format!("follow={}", filter.follow);
        if let Some(verdict) = filter.verdict {
            let word = serde_json::to_value(verdict).map_err(|error| self.broken(&error))?;
            query.push_str(&format!("&verdict={}", word.as_str().unwrap_or_default()));
        }
        if let Some(pod) = &filter.pod {
            query.push_str(&format!("&pod={}", escape(pod)));
        }
        if let Some(last) = filter.last {
            query.push_str(&format!("&last={last}"));
        }
        let body = self.ask(Method::GET, &format!("/v1/events?{query}")).await?.into_body();
        Ok(Lines::new(&self.path, body))
    }

    /// The flows there are.
    pub async fn flows(&self, filter: &FlowFilter) -> Result<Lines<FlowRecord>, ClientError> {
        let body = self.ask(Method::GET, &format!("/v1/flows?{}", filter.query())).await?.into_body();
        Ok(Lines::new(&self.path, body))
    }

    /// Forgets flows.
    pub async fn flush(&self, filter: &FlowFilter) -> Result<Flushed, ClientError> {
        let response = self.ask(Method::DELETE, &format!("/v1/flows?{}", filter.query())).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, ClientError> {
        let body = response.into_body().collect().await.map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| self.broken(&error))
    }

    /// Sends `message` as JSON and reads the answer.
    pub(super) async fn say<T: DeserializeOwned>(
        &self,
        method: Method,
        request: &str,
        message: &impl Serialize,
    ) -> Result<T, ClientError> {
        let message = serde_json::to_vec(message).map_err(|error| self.broken(&error))?;
        let response = self.send(method, request, message.into()).await?;
        self.read(response).await
    }

    async fn ask(&self, method: Method, request: &str) -> Result<Response<Incoming>, ClientError> {
        self.send(method, request, Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        request: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| ClientError::Connect { path: self.path.clone(), source })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        let message = Request::builder()
            .method(method)
            .uri(request)
            .header("host", "podgate")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(&error))?;
        let response = sender.send_request(message).await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        Err(ClientError::Refused { path: self.path.clone(), request: request.into(), status })
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// Percent-encodes what has a meaning in a query.
pub(super) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
