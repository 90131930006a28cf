//! Between the plugin and a VPP, real or fake: writes down what is said, and stops at a request.

use super::recording::{Connection, Frame};
use super::table::short;
use super::wire::{read, text_at, u16_at, u32_at, write};
use std::collections::HashMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Where a request is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Before VPP has it.
    Before,
    /// When VPP has done it, and the plugin does not know.
    After,
}

/// The proxy; it ends with the test.
pub(crate) struct Proxy {
    pub(crate) api: PathBuf,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    connections: Vec<Connection>,
    names: HashMap<u16, String>,
    gate: Option<Gate>,
}

struct Gate {
    /// Requests that pass before the one that is stopped.
    left: usize,
    at: At,
    stopped: Sender<String>,
    closed: bool,
}

impl Proxy {
    /// Listens in `dir` and hands on to `vpp`.
    pub(crate) fn start(dir: &Path, vpp: &Path) -> Self {
        std::fs::create_dir(dir).unwrap();
        let api = dir.join("api.sock");
        let listener = UnixListener::bind(&api).unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (of_all, vpp) = (Arc::clone(&shared), vpp.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(vpp) = UnixStream::connect(&vpp) else { continue };
                start_connection(client.unwrap(), vpp, &of_all);
            }
        });
        Self { api, shared }
    }

    /// Stops request number `number`, counted from now. The receiver gets its name.
    pub(crate) fn stop_at(&self, number: usize, at: At) -> Receiver<String> {
        let (stopped, receiver) = channel();
        let gate = Gate { left: number, at, stopped, closed: false };
        self.shared.lock().unwrap().gate = Some(gate);
        receiver
    }

    /// Lets everything pass.
    pub(crate) fn open(&self) {
        self.shared.lock().unwrap().gate = None;
    }

    /// What was said since the last time.
    pub(crate) fn take(&self) -> Vec<Connection> {
        std::mem::take(&mut self.shared.lock().unwrap().connections)
    }
}

fn start_connection(client: UnixStream, vpp: UnixStream, shared: &Arc<Mutex<Shared>>) {
    let number = {
        let mut shared = shared.lock().unwrap();
        shared.connections.push(Connection::default());
        shared.connections.len() - 1
    };
    let (of_requests, of_answers) = (Arc::clone(shared), Arc::clone(shared));
    let (to_client, from_vpp) = (client.try_clone().unwrap(), vpp.try_clone().unwrap());
    std::thread::spawn(move || requests(client, vpp, &of_requests, number));
    std::thread::spawn(move || answers(from_vpp, to_client, &of_answers, number));
}

fn requests(mut client: UnixStream, mut vpp: UnixStream, shared: &Mutex<Shared>, number: usize) {
    while let Some(body) = read(&mut client) {
        let mut locked = shared.lock().unwrap();
        let name = locked.note(number, true, &body);
        let verdict = locked.gate.as_mut().map_or(Verdict::Pass, |gate| gate.look_at(&name));
        drop(locked);
        // VPP spins on a connection that just ends after it was busy: this one stays until it does.
        if verdict == Verdict::Stop {
            return;
        }
        if write(&mut vpp, &body).is_none() {
            return;
        }
    }
    let _ = vpp.shutdown(std::net::Shutdown::Both);
}

fn answers(mut vpp: UnixStream, mut client: UnixStream, shared: &Mutex<Shared>, number: usize) {
    while let Some(body) = read(&mut vpp) {
        let mut locked = shared.lock().unwrap();
        let name = locked.note(number, false, &body);
        if let Some(gate) = locked.gate.as_mut().filter(|gate| gate.closed && gate.at == At::After)
        {
            let _ = gate.stopped.send(name);
            continue;
        }
        drop(locked);
        let _ = write(&mut client, &body);
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Pass,
    Stop,
}

impl Gate {
    fn look_at(&mut self, name: &str) -> Verdict {
        if self.closed {
            return Verdict::Stop;
        }
        if self.left > 0 {
            self.left -= 1;
            return Verdict::Pass;
        }
        self.closed = true;
        // A dump changes nothing, and has perhaps no answer before the ping behind it.
        if self.at == At::After && !short(name).ends_with("_dump") {
            return Verdict::Pass;
        }
        let _ = self.stopped.send(name.to_owned());
        Verdict::Stop
    }
}

impl Shared {
    fn note(&mut self, number: usize, from_client: bool, body: &[u8]) -> String {
        let id = u16_at(body, 0);
        let name = match (id, from_client) {
            (15, true) => "sockclnt_create_455fb9c4".to_owned(),
            (16, false) => {
                self.learn(number, body);
                return "sockclnt_create_reply".to_owned();
            }
            _ => self.names.get(&id).cloned().unwrap_or_default(),
        };
        if let Some(connection) = self.connections.get_mut(number) {
            let frame = Frame { from_client, name: name.clone(), body: body.to_vec() };
            connection.frames.push(frame);
        }
        name
    }

    fn learn(&mut self, number: usize, body: &[u8]) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.index = u32_at(body, 14);
        }
        for entry in body[20..].chunks_exact(66) {
            self.names.insert(u16_at(entry, 0), text_at(entry, 2, 64));
        }
    }
}
