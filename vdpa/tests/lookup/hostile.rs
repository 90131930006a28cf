//! Clients and servers that do what they should not: they are bounded, and nobody else notices.

use super::support::{DEADLINE, read_to_end, wait_until};
use super::{Lab, told, two};
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ringport_vdpa::lookup::{Client, ClientError};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

/// How an HTTP/2 client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn connect(lab: &Lab) -> UnixStream {
    UnixStream::connect(&lab.socket).unwrap()
}

#[test]
fn garbage_closes_the_connection_and_nothing_else() {
    let lab = Lab::new(&two());
    let mut client = lab.client();
    let settings = [PREFACE, SETTINGS].concat();
    let headers = |flags, stream: u32, block: &[u8]| {
        let len = u8::try_from(block.len()).unwrap();
        let mut frame = vec![0, 0, len, 1, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(block);
        [settings.clone(), frame].concat()
    };
    let cases: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0; 4096],
        &[0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        // A frame of 16 MiB.
        &[PREFACE, &[0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0]].concat(),
        // Headers that no decoder knows, on stream 1; and on stream 0.
        &headers(5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        &headers(5, 0, &[0x82]),
        // DATA of a stream that was never opened.
        &[&settings[..], &[0, 0, 1, 0, 0, 0, 0, 0, 7, 0]].concat(),
    ];
    for bytes in cases {
        let mut stream = connect(&lab);
        // It may be closed before all is sent.
        let _ = stream.write_all(bytes);
        read_to_end(&mut stream);
    }
    assert_eq!(client.socket_path("0000:82:00.2").unwrap().as_deref(), Some("/a"));
    lab.assert_answers();
}

#[test]
fn who_leaves_in_the_middle_of_anything_harms_nobody() {
    let lab = Lab::new(&two());
    let all = [PREFACE, SETTINGS, &[0, 0, 40, 1, 4, 0, 0, 0, 1, 0x82]].concat();
    for len in 0..all.len() {
        let mut stream = connect(&lab);
        let _ = stream.write_all(&all[..len]);
    }
    lab.assert_answers();
}

#[test]
fn who_asks_nothing_is_closed_after_the_idle_time() {
    let lab = Lab::with(&two(), |limits| limits.idle = Duration::from_millis(200));
    let began = Instant::now();
    let mut silent = connect(&lab);
    let mut polite = connect(&lab);
    polite.write_all(&[PREFACE, SETTINGS].concat()).unwrap();
    read_to_end(&mut silent);
    read_to_end(&mut polite);
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    lab.assert_answers();
}

#[test]
fn watch_is_not_idle() {
    let lab = Lab::with(&two(), |limits| limits.idle = Duration::from_millis(50));
    let mut client = lab.client();
    let mut watch = client.watch().unwrap();
    assert_eq!(told(&mut watch).len(), 2);
    let quiet = watch.next(Some(Duration::from_millis(400)));
    assert!(matches!(quiet, Err(ClientError::Late { .. })), "{quiet:?}");
    lab.table.replace(vec![]).unwrap();
    assert_eq!(told(&mut watch).len(), 2);
}

#[test]
fn one_connection_too_many_has_the_most_idle_closed() {
    let lab = Lab::with(&two(), |limits| limits.connections = 3);
    let mut busy = lab.client();
    let mut silent: Vec<_> = Vec::new();
    for _ in 0..8 {
        silent.push(connect(&lab));
        // Has been asked since, so it is not the most idle.
        assert_eq!(busy.socket_path("0000:82:00.2").unwrap().as_deref(), Some("/a"));
    }
    silent[..6].iter_mut().for_each(|stream| drop(read_to_end(stream)));
    let mut left = silent.pop().unwrap();
    left.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut settings = [0; 9];
    // The server's SETTINGS may have come, its end has not.
    assert!(!matches!(left.read(&mut settings), Ok(0)));
}

#[test]
fn watches_leave_room_for_questions() {
    let lab = Lab::with(&two(), |limits| (limits.connections, limits.watches) = (3, 100));
    let (mut watcher, mut other) = (lab.client(), lab.client());
    let (mut first, mut second) = (watcher.watch().unwrap(), other.watch().unwrap());
    assert_eq!((told(&mut first).len(), told(&mut second).len()), (2, 2));
    let mut third = lab.client();
    let refused = third.watch();
    assert!(matches!(refused, Err(ClientError::Failed { .. })), "{refused:?}");
    assert_eq!(third.list().unwrap(), two());
    for _ in 0..5 {
        lab.assert_answers();
    }
    lab.table.replace(vec![]).unwrap();
    assert_eq!((told(&mut first).len(), told(&mut second).len()), (2, 2));
    // One that is over makes room.
    drop(first);
    assert_eq!(watcher.list().unwrap(), []);
    let mut fourth = lab.client();
    wait_until("a watch", || fourth.watch().is_ok());
}

#[test]
fn long_question_is_refused_and_the_next_one_is_not() {
    let lab = Lab::new(&two());
    let mut client = lab.client();
    for len in [5_000, 1_000_000] {
        let refused = client.socket_path(&"7".repeat(len));
        assert!(matches!(refused, Err(ClientError::Failed { .. })), "{refused:?}");
    }
    assert_eq!(client.socket_path(&"7".repeat(4000)).unwrap(), None);
    assert_eq!(client.socket_path("0000:82:00.2").unwrap().as_deref(), Some("/a"));
}

/// A question that begins, and never comes.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Sends the beginning of a question to `path`, and returns the status of gRPC and how long it took.
fn begin_question(lab: &Lab, path: &str) -> (String, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::UnixStream::connect(&lab.socket).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut requests, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .body(Endless)
            .unwrap();
        let began = Instant::now();
        let answer = tokio::time::timeout(DEADLINE, requests.send_request(request));
        let answer = answer.await.unwrap().unwrap();
        let status = answer.headers()["grpc-status"].to_str().unwrap().to_owned();
        (status, began.elapsed())
    })
}

#[test]
fn question_that_never_comes_is_given_up() {
    let patience = Duration::from_millis(200);
    let lab = Lab::with(&two(), |limits| limits.question = patience);
    for path in ["/vdpadpdk.VdpaDpdk/GetSocketpath", "/ringport.vdpa.v1.Devices/Watch"] {
        let (status, took) = begin_question(&lab, path);
        // DEADLINE_EXCEEDED.
        assert_eq!(status, "4", "{path}");
        assert!(took >= patience, "{took:?}");
    }
}

#[test]
fn what_is_no_service_is_unimplemented() {
    let lab = Lab::new(&two());
    let paths =
        ["/", "//", "/vdpadpdk.VdpaDpdk/", "/vdpadpdk.VdpaDpdk/Put", "/a.B/Watch", "/%00/Get"];
    for path in paths {
        assert_eq!(begin_question(&lab, path).0, "12", "{path}");
    }
    lab.assert_answers();
}

/// A server of ours that does with each connection what it likes.
fn odd_server(path: &Path, serve: fn(UnixStream)) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(serve));
}

fn listen_only(mut stream: UnixStream) {
    thread::spawn(move || read_to_end(&mut stream));
}

fn ask(path: &Path) -> Result<Option<String>, ClientError> {
    let patience = Duration::from_millis(300);
    Client::connect_within(path, DEADLINE, patience)?.socket_path("0000:82:00.2")
}

#[test]
fn server_that_says_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent.sock");
    odd_server(&path, listen_only);
    assert!(matches!(ask(&path), Err(ClientError::Late { .. })));
}

#[test]
fn server_that_speaks_no_http2_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for (n, serve) in [
        (|mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
            as fn(UnixStream),
        |mut stream| drop(stream.write_all(&[0xff; 1 << 16])),
        drop,
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.path().join(format!("{n}.sock"));
        odd_server(&path, serve);
        let refused = ask(&path);
        // The last one may be gone before anything is asked.
        let expected =
            matches!(refused, Err(ClientError::Failed { .. } | ClientError::NoServer { .. }));
        assert!(expected, "{refused:?}");
    }
}

#[test]
fn server_that_is_not_there_is_named_and_one_that_comes_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.sock");
    let none = Client::connect_within(&path, Duration::from_millis(100), DEADLINE);
    let error = none.unwrap_err().to_string();
    assert!(error.contains("late.sock") && error.contains("is the server running"), "{error}");
    let (late, socket) = (path.clone(), path.clone());
    let asking = thread::spawn(move || Client::connect_within(&late, DEADLINE, DEADLINE));
    // Whether it asks before or after this makes no difference to it.
    thread::sleep(Duration::from_millis(100));
    odd_server(&socket, listen_only);
    asking.join().unwrap().unwrap();
}
