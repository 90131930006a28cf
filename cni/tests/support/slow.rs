//! A proxy in front of a database: it takes its time, or ends connections.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of the answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fault {
    /// How long each is kept.
    pub(crate) delay: Duration,
    /// How many there are on all connections together; then all of them end, and no other begins.
    pub(crate) answers: Option<usize>,
}

/// The proxy. It listens as long as the test's process lives.
pub(crate) struct SlowProxy {
    path: PathBuf,
    fault: Arc<Mutex<Fault>>,
}

impl SlowProxy {
    pub(crate) fn start(path: &Path, database: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let fault = Arc::new(Mutex::new(Fault::default()));
        let (shared, database) = (Arc::clone(&fault), database.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                // While the database is away, so is the proxy.
                if let Ok(server) = UnixStream::connect(&database) {
                    join(client.unwrap(), server, &shared);
                }
            }
        });
        Self { path: path.to_owned(), fault }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Whether there would have been more answers than there were to be.
    pub(crate) fn cut(&self) -> bool {
        self.fault.lock().unwrap().answers == Some(0)
    }
}

fn join(client: UnixStream, server: UnixStream, fault: &Arc<Mutex<Fault>>) {
    let (mut requests, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut requests, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let fault = Arc::clone(fault);
    std::thread::spawn(move || {
        let _ = answer(&server, &client, &fault);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

fn answer(mut from: &UnixStream, mut to: &UnixStream, fault: &Mutex<Fault>) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let len = from.read(&mut bytes)?;
        if len == 0 {
            return Ok(());
        }
        let delay = {
            let mut fault = fault.lock().unwrap();
            match &mut fault.answers {
                Some(0) => return Ok(()),
                Some(left) => *left -= 1,
                None => {}
            }
            fault.delay
        };
        std::thread::sleep(delay);
        to.write_all(&bytes[..len])?;
    }
}
