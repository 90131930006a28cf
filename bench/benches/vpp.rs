//! What a call of the CNI plugin pays before it can ask VPP anything: connect, read VPP's table of
//! messages and look up ours, learn the release, and leave. Beside it the same bytes over the same socket
//! with nobody looking at them.
//!
//! The other side is a thread that answers as VPP 26.10-rc0 was recorded to answer: its numbers, names
//! and CRCs of the messages that we know, among as many others as make up its 899.
#![expect(clippy::expect_used, reason = "a benchmark without its peer is worth nothing")]

use criterion::{Criterion, criterion_group, criterion_main};
use ringport_cni::engines::vpp::Session;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The messages that the plugin knows, with their numbers.
const RECORDED: &str = include_str!("../../cni/tests/fixtures/vpp/table-26.10.txt");
/// Messages in the table of the VPP that was recorded.
const MESSAGES: u16 = 899;
/// Bytes of a message's header, and where in it the body's length is.
const HEADER: usize = 16;
const LENGTH_AT: usize = 8;
/// Bytes of a name in the table.
const NAME: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(20);

/// The release that was recorded.
const RELEASE: &[u8] = b"26.10-rc0~374-gb575ec2c56d";

fn connect(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let api = dir.path().join("api.sock");
    let table = Table::recorded();
    let raw = Raw::new(api.clone(), &table);
    serve(&api, table);
    let mut group = c.benchmark_group("vpp");
    group.bench_function("connect and resolve", |b| {
        b.iter(|| Session::connect(&api, TIMEOUT).expect("a session"));
    });
    group.bench_function("the same bytes", |b| b.iter(|| raw.exchange().expect("an exchange")));
    group.finish();
}

/// Numbers and names with CRCs.
struct Table(Vec<(u16, String)>);

impl Table {
    fn recorded() -> Self {
        let rows = RECORDED.lines().filter(|line| !line.starts_with('#'));
        let mut rows: Vec<(u16, String)> = rows
            .map(|row| {
                let (number, name) = row.split_once(' ').expect("two columns");
                (number.parse().expect("a number"), name.to_owned())
            })
            .collect();
        let taken: Vec<u16> = rows.iter().map(|(number, _)| *number).collect();
        let others = (15..).filter(|number| !taken.contains(number));
        let missing = usize::from(MESSAGES) - rows.len();
        rows.extend(
            others.take(missing).map(|it| (it, format!("another_message_{it:04}_0badc0de"))),
        );
        Self(rows)
    }

    fn number(&self, message: &str) -> u16 {
        let found = self
            .0
            .iter()
            .find(|(_, name)| name.rsplit_once('_').is_some_and(|(name, _)| name == message));
        found.expect("a message that we know").0
    }

    /// What VPP answers a client that connects: context, result, index, and the table.
    fn welcome(&self, context: &[u8]) -> Vec<u8> {
        let mut body = self.number("sockclnt_create_reply").to_be_bytes().to_vec();
        body.extend([0; 4]);
        body.extend(context);
        body.extend([0; 4]);
        body.extend(1_u32.to_be_bytes());
        body.extend(MESSAGES.to_be_bytes());
        for (number, name) in &self.0 {
            body.extend(number.to_be_bytes());
            let mut field = name.as_bytes().to_vec();
            field.resize(NAME, 0);
            body.extend(field);
        }
        framed(&body)
    }

    /// The answer to a request; none for those that no session begins or ends with.
    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let number = u16::from_be_bytes([*request.first()?, *request.get(1)?]);
        if number == self.number("sockclnt_create") {
            return Some(self.welcome(request.get(2..6)?));
        }
        // Number, client, context.
        let context = request.get(6..10)?;
        let reply = if number == self.number("show_version") {
            let mut body = self.number("show_version_reply").to_be_bytes().to_vec();
            body.extend(context);
            body.extend([0; 4]);
            body.extend(b"vpe");
            body.resize(body.len() + 29, 0);
            body.extend(RELEASE);
            // The rest of the release, its date, and the directory it was built in.
            body.resize(body.len() + 32 - RELEASE.len() + 32 + 256, 0);
            body
        } else if number == self.number("sockclnt_delete") {
            let mut body = self.number("sockclnt_delete_reply").to_be_bytes().to_vec();
            body.extend(context);
            // It says 1 when all is well.
            body.extend(1_u32.to_be_bytes());
            body
        } else {
            return None;
        };
        Some(framed(&reply))
    }
}

/// Answers one client after the other until the process ends.
fn serve(api: &Path, table: Table) {
    let listener = UnixListener::bind(api).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let farewell = table.number("sockclnt_delete");
            while let Ok(request) = read(&mut stream) {
                let Some(answer) = table.answer(&request) else { break };
                // It closes its end behind the answer to a farewell.
                let last = request.starts_with(&farewell.to_be_bytes());
                if stream.write_all(&answer).is_err() || last {
                    break;
                }
            }
        }
    });
}

/// A client that knows what will be said.
struct Raw {
    api: PathBuf,
    /// Requests, and lengths of their answers.
    said: Vec<(Vec<u8>, usize)>,
}

impl Raw {
    fn new(api: PathBuf, table: &Table) -> Self {
        let mut create = table.number("sockclnt_create").to_be_bytes().to_vec();
        create.resize(2 + 4 + NAME, 0);
        let ask = |message: &str, more: usize| {
            let mut body = table.number(message).to_be_bytes().to_vec();
            body.resize(body.len() + 8 + more, 0);
            body
        };
        let requests = [create, ask("show_version", 0), ask("sockclnt_delete", 4)];
        let said = requests.map(|request| {
            let answer = table.answer(&request).expect("an answer");
            (framed(&request), answer.len())
        });
        Self { api, said: said.into() }
    }

    fn exchange(&self) -> io::Result<()> {
        let mut stream = UnixStream::connect(&self.api)?;
        let mut answer = Vec::new();
        for (request, len) in &self.said {
            stream.write_all(request)?;
            answer.resize(*len, 0);
            stream.read_exact(&mut answer)?;
        }
        // Until the other end is closed.
        stream.read_to_end(&mut answer)?;
        Ok(())
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    let len = u32::try_from(body.len()).expect("a short message");
    bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&len.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = header;
    let mut body = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

criterion_group!(benches, connect);
criterion_main!(benches);
