//! One connection.

use super::services::Services;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};

/// Questions at a time. As many answers may wait for a client that does not read, of half a MiB each at most.
const STREAMS_MAX: u32 = 8;
/// Bytes that a client may send ahead, of a question and of all: as many as HTTP/2 lets it at first.
const WINDOW: u32 = 65_535;
/// Bytes of the headers of a question.
const HEADERS_MAX: u32 = 8 << 10;
/// How often a watcher is asked whether it lives, and how long it has to answer.
const PING_EVERY: Duration = Duration::from_secs(20);

/// What holds for every connection.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) services: Services,
    pub(super) watches: Arc<Semaphore>,
    pub(super) idle: Duration,
    pub(super) question: Duration,
    /// Errs when the server is to end.
    pub(super) ended: watch::Receiver<()>,
}

/// Serves a connection until its client leaves, breaks HTTP/2 or asks nothing for too long, or until the
/// server ends.
pub(super) async fn serve(stream: UnixStream, rules: Rules, activity: Arc<Activity>) {
    let (idle, mut ended) = (rules.idle, rules.ended.clone());
    let about = Arc::clone(&activity);
    let service = service_fn(move |question| {
        activity.touch();
        answer(question, rules.clone(), Arc::clone(&activity))
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEADERS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        served = &mut connection => {
            if let Err(error) = served {
                tracing::debug!(%error, "connection closed");
            }
            return;
        }
        () = about.idle(idle) => {
            tracing::debug!("connection closed: nothing was asked for too long");
            return;
        }
        _ = ended.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    // What comes of it does not matter any more.
    let _ = connection.await;
}

async fn answer(
    question: Request<Incoming>,
    rules: Rules,
    activity: Arc<Activity>,
) -> Result<Response<Body>, Infallible> {
    let watching = if question.uri().path().ends_with("/Watch") {
        match Arc::clone(&rules.watches).try_acquire_owned() {
            Ok(permit) => Some(Watching::new(activity, permit)),
            Err(_) => return Ok(refuse(&Status::resource_exhausted("too many watches"))),
        }
    } else {
        None
    };
    let answered = timeout(rules.question, rules.services.call(question)).await;
    let late = |_| refuse(&Status::deadline_exceeded("the question did not arrive in time"));
    let response = answered.unwrap_or_else(late);
    Ok(match watching {
        None => response,
        Some(watching) => response.map(|body| holding(body, watching)),
    })
}

fn refuse(status: &Status) -> Response<Body> {
    status.clone().into_http()
}

/// The body, with what lasts as long as it does.
fn holding(body: Body, watching: Watching) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &watching;
        frame
    }))
}

/// What a client does with its connection.
pub(super) struct Activity(Mutex<State>);

struct State {
    last: Instant,
    watches: usize,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { last: Instant::now(), watches: 0 }))
    }

    /// When it asked something, or ceased to watch; or connected.
    pub(super) fn last(&self) -> Instant {
        self.with(|state| state.last)
    }

    pub(super) fn is_watching(&self) -> bool {
        self.with(|state| state.watches > 0)
    }

    fn touch(&self) {
        self.with(|state| state.last = Instant::now());
    }

    /// Waits until nothing has been asked for `limit`, and nothing is watched.
    async fn idle(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let due = if self.is_watching() { now + limit } else { self.last() + limit };
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A watch, counted as long as it lasts.
struct Watching {
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Watching {
    fn new(activity: Arc<Activity>, permit: OwnedSemaphorePermit) -> Self {
        activity.with(|state| state.watches += 1);
        Self { activity, _permit: permit }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.activity.with(|state| state.watches -= 1);
        self.activity.touch();
    }
}
