//! What comes from the server, noticed as it comes: a watch on which nothing changes says nothing to its
//! reader for hours, and is yet alive.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use axum::http::{Request, Response};
use futures::FutureExt;
use http_body_util::BodyExt;
use http_body_util::combinators::MapFrame;
use hyper::body::Frame;
use kube::client::Body;
use tower::{Layer, Service};

use super::health::Health;
use super::kind::Kind;

/// Tells of every answer, and of everything that comes in it.
#[derive(Clone, Debug)]
pub(super) struct Noticing(pub(super) Arc<Health>);

/// A client whose answers are noticed.
#[derive(Clone, Debug)]
pub(super) struct Noticed<S> {
    inner: S,
    health: Arc<Health>,
}

type NoticedBody<B> = MapFrame<B, Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send>>;

impl<S> Layer<S> for Noticing {
    type Service = Noticed<S>;

    fn layer(&self, inner: S) -> Noticed<S> {
        Noticed { inner, health: Arc::clone(&self.0) }
    }
}

impl<S, B> Service<Request<Body>> for Noticed<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Response<NoticedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kind = Kind::at_path(request.uri().path());
        let health = Arc::clone(&self.health);
        self.inner
            .call(request)
            .map(move |answer| {
                answer.map(|response| {
                    if response.status().is_success()
                        && let Some(kind) = kind
                    {
                        health.answered(kind);
                    }
                    response.map(|body| {
                        let notice: Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send> =
                            Box::new(move |frame| {
                                if let Some(kind) = kind {
                                    health.contact(kind);
                                }
                                frame
                            });
                        body.map_frame(notice)
                    })
                })
            })
            .boxed()
    }
}
