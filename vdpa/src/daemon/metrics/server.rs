//! Answers `GET /metrics` over HTTP, in a thread of its own.

use super::super::Daemon;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringport::error::CallError;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

/// What the text is called.
const FORM: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// Most connections at a time; others wait.
const CONNECTIONS_MAX: usize = 8;
/// How long a question may take to arrive.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a connection may take in all: one question each.
const CONNECTION: Duration = Duration::from_secs(10);
/// Bytes of a question, the least that there may be.
const QUESTION_MAX: usize = 8 << 10;
/// How long nothing is accepted when the system has run out of something.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Why there are no metrics.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The address cannot be had.
    #[error("metrics cannot be offered at {address}: is the port taken, and is the address ours?")]
    Listen {
        /// Where they were to be.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Answers until it is dropped. Whoever reaches the address may ask, and learns of devices and sockets:
/// without a reason to do otherwise, listen on the loopback interface.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Listens.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn start(address: SocketAddr, daemon: Arc<Daemon>) -> Result<Self, MetricsError> {
        let (listener, address) =
            listen(address).map_err(|source| MetricsError::Listen { address, source })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CallError::io("start the metrics' runtime"))?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)
                .map_err(CallError::io("register the metrics' socket"))?
        };
        let (end, ended) = oneshot::channel();
        let work = async move {
            tokio::select! {
                _ = ended => {}
                () = accept(&listener, daemon) => {}
            }
        };
        let thread = Builder::new()
            .name("vdpa-metrics".into())
            .spawn(move || runtime.block_on(work))
            .map_err(CallError::io("start the metrics' thread"))?;
        Ok(Self { address, end: Some(end), thread: Some(thread) })
    }

    /// Where it listens: with the port that the system chose, where that was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It panicked, and has ended as well.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(listener: &tokio::net::TcpListener, daemon: Arc<Daemon>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION, serve(stream, daemon)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                sleep(SHORTAGE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, daemon: Arc<Daemon>) {
    let service = service_fn(|question| {
        let answer = answer(&question, &daemon);
        async { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(QUESTION)
        .max_buf_size(QUESTION_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a question for metrics was not answered");
    }
}

fn answer(question: &Request<Incoming>, daemon: &Daemon) -> Response<Full<Bytes>> {
    let (status, text) = match (question.uri().path(), question.method()) {
        ("/metrics", &Method::GET) => (StatusCode::OK, super::text(daemon.list())),
        ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, "there is only /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    if status == StatusCode::OK {
        response.headers_mut().insert(CONTENT_TYPE, FORM);
    }
    response
}
