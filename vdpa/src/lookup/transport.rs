//! The client's connection.

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, Uri};

/// How often it is tried to connect.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// HTTP/2 over one UNIX socket.
#[derive(Clone, Debug)]
pub(super) struct Transport(SendRequest<Body>);

impl Transport {
    /// Connects, as soon as somebody listens. Must be called in a runtime, which then serves the connection.
    pub(super) async fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let end = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(path).await {
                Ok(stream) => break stream,
                Err(error) if !may_change(&error) || Instant::now() >= end => return Err(error),
                Err(_) => sleep(RETRY_EVERY).await,
            }
        };
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (requests, connection) = handshake.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection closed");
            }
        });
        Ok(Self(requests))
    }

    /// What requests name as their server: a socket has no name, and gRPC says so by this one.
    pub(super) fn origin() -> Uri {
        Uri::from_static("http://localhost")
    }
}

/// Whether a server that starts makes the difference.
fn may_change(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::WouldBlock
    )
}

type Answer = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        Box::pin(self.0.send_request(request))
    }
}
