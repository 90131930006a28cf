//! [`crate::relay_messages`].
//!
//! Header: features of the device (as in a SET_FEATURES), log2 of its largest ring, whether it starts rings
//! midway (bit 0), tells where they stand (1) and is behind an IOMMU (2), bytes of its configuration.

use super::OPERATIONS_MAX;
use super::device::{Books, Device};
use crate::input::Input;
use crate::vhost::say::{Sent, deliver, feature_set, message, plain_fd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::scm;
use ringport_vdpa::relay::Event;
use ringport_vdpa::{Capabilities, Relay, RelayConfig, VdpaDevice};
use ringport_vhost_user::wire::feature;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Front-ends that follow one another.
const FRONT_ENDS_MAX: usize = 4;
/// Most events that one message may bring.
const EVENTS_MAX: usize = 600;
const PATIENCE: Duration = Duration::from_secs(10);

struct Scene {
    relay: Relay,
    books: Arc<Mutex<Books>>,
    changed: OwnedFd,
    gone: OwnedFd,
    /// The front-end's end, until it hangs up.
    socket: Option<OwnedFd>,
    /// How often a link came up, and went down or was not to be.
    ups: u32,
    downs: u32,
}

pub(crate) fn run(data: &[u8]) {
    links(data);
}

/// Returns how many links came up.
fn links(data: &[u8]) -> u32 {
    let mut links = 0;
    let mut input = Input::new(data);
    let (device, books) = Device::new(capabilities(&mut input));
    let mut device: Box<dyn VdpaDevice> = Box::new(device);
    let mut operations = 0;
    for _ in 0..FRONT_ENDS_MAX {
        let mut scene = Scene::new(device, Arc::clone(&books));
        while operations < OPERATIONS_MAX && input.more() && scene.socket.is_some() {
            operations += 1;
            scene.step(&mut input);
        }
        links += scene.ups;
        let Some(next) = scene.finish() else { break };
        device = next;
    }
    links
}

impl Scene {
    fn new(device: Box<dyn VdpaDevice>, books: Arc<Mutex<Books>>) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().unwrap();
        let (changed, gone) = (own(device.config_changed()), own(device.gone()));
        let relay = Relay::from_socket(ours, RelayConfig::default(), device).unwrap();
        Self { relay, books, changed, gone, socket: Some(theirs), ups: 0, downs: 0 }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => {
                let [len, fds] = input.take();
                let bytes = (0..len % 64).map(|_| input.u8()).collect();
                let fds = (0..fds % 4).map(|_| plain_fd()).collect();
                self.write(&Sent { bytes, fds, fds_truncated: false });
            }
            1 => self.books().fails = input.u8(),
            2 => drop(nix::unistd::write(&self.changed, &1_u64.to_ne_bytes())),
            3 => {
                if input.u8() == 0 {
                    nix::unistd::write(&self.gone, &1_u64.to_ne_bytes()).unwrap();
                }
            }
            4 => {
                if input.u8() == 0 {
                    self.socket = None;
                }
            }
            5 => {
                if input.u8() == 0 {
                    self.relay.disconnect();
                }
            }
            6 => self.read_replies(),
            7 => {
                // Written at once, so that the relay finds many in its socket.
                let said = message(input);
                deliver(&said, input).iter().for_each(|sent| self.write(sent));
                return;
            }
            8 => self.books().base = input.u32(),
            _ => {
                let said = message(input);
                for sent in deliver(&said, input) {
                    self.write(&sent);
                    self.poll();
                }
                self.read_replies();
            }
        }
        self.poll();
    }

    fn write(&self, sent: &Sent) {
        if let Some(socket) = &self.socket {
            let fds: Vec<BorrowedFd<'_>> = sent.fds.iter().map(AsFd::as_fd).collect();
            // Refused when the socket is full, or the relay has closed it.
            let _ = scm::send(socket.as_fd(), &sent.bytes, &fds);
        }
    }

    fn read_replies(&self) {
        let mut buffer = [0; 512];
        while let Some(socket) = &self.socket
            && let Ok(received) = scm::recv(socket.as_fd(), &mut buffer)
            && !received.eof
        {}
    }

    /// Has the relay do all that it has to do now.
    fn poll(&mut self) {
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.relay.poll(Some(Duration::ZERO)).unwrap() else {
                return self.check();
            };
            match event {
                Event::LinkUp(_) => {
                    assert!(self.ups == 0 && self.downs == 0, "a second link");
                    self.ups += 1;
                }
                Event::LinkDown(_) => {
                    assert!(self.ups == 1 && self.downs == 0);
                    self.downs += 1;
                }
                Event::Refused(_) => {
                    assert!(self.ups == 0 && self.downs == 0);
                    self.downs += 1;
                }
                Event::PairsEnabled(pairs) => assert!(pairs <= 1 && self.ups == 1),
                Event::RequestRefused(error) => assert!(!error.to_string().is_empty()),
                _ => {}
            }
        }
        panic!("events without end");
    }

    fn check(&self) {
        let books = self.books();
        assert!(books.running.is_none() || self.ups == 1, "it runs, and nobody was told");
        if self.downs > 0 {
            assert!(books.mapped.is_empty() && books.running.is_none(), "{books:?}");
        }
    }

    /// The front-end is gone, and nothing of it stays. Returns the device for the next one.
    fn finish(mut self) -> Option<Box<dyn VdpaDevice>> {
        self.socket = None;
        let start = Instant::now();
        self.poll();
        // One whose turns took long has none for a while.
        while !self.relay.is_finished() && start.elapsed() < PATIENCE {
            self.poll();
        }
        assert!(self.relay.is_finished(), "the front-end has gone");
        assert_eq!(self.downs, 1);
        self.check();
        let given_up = self.books().given_up;
        assert_eq!(self.relay.why_closed().is_some(), given_up);
        self.relay.into_device().filter(|_| !given_up)
    }
}

fn capabilities(input: &mut Input<'_>) -> Capabilities {
    let [features, log2, how, config_len] = input.take();
    let has = |bit: u8| how >> bit & 1 != 0;
    // What only travels on the socket is no device's.
    let offered = feature_set(features) & !(feature::PROTOCOL_FEATURES | feature::LOG_ALL);
    let iommu = if has(2) { 1 << 33 } else { 0 };
    Capabilities {
        device_id: 1,
        features: offered | feature::VERSION_1 | feature::MTU | iommu,
        rings: 2,
        ring_size_max: 1 << (log2 % 16),
        config_len: config_len.into(),
        iova: vec![0..=u64::MAX],
        mappings_max: None,
        locks_memory: false,
        translated: has(2),
        starts_midway: has(0),
        tells_base: has(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{open_files, seeds};

    #[test]
    fn seeds_of_links_have_links() {
        let seeds = seeds::of("relay_messages");
        let links = |wanted: &str| {
            let (_, data) = seeds.iter().find(|(name, _)| *name == wanted).unwrap();
            open_files::alone(|| links(data))
        };
        for name in ["running", "packed", "begins-anew-only", "iommu"] {
            assert_eq!(links(name), 1, "{name}");
        }
        assert_eq!(links("next"), 2);
        assert_eq!(links("start-fails"), 1);
    }
}
