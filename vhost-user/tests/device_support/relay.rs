//! Passes a conversation between a front-end and a device on.

use super::Place;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::scm;
use ringport_vhost_user::wire::Request;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};

/// Where a packed ring begins: its first descriptor, in the first turn.
const START: u32 = 0x8000;

/// A place where one front-end is passed on to the device at `device`, with packed rings started
/// where they begin instead of at 0. It ends with the conversation.
pub fn correct_bases(device: &Place) -> Place {
    pass_on(device, |message, _| {
        let base = message[..4] == (Request::SetVringBase as u32).to_ne_bytes();
        if base && message[16..20] == [0; 4] {
            message[16..20].copy_from_slice(&START.to_ne_bytes());
        }
    })
}

/// A place where one front-end is passed on to the device at `device`, and what its doorbells are: those that
/// it is called by, those that tell it of broken rings, and those that it kicks.
pub fn overhear(device: &Place) -> (Place, Receiver<(Request, OwnedFd)>) {
    let (sender, bells) = channel();
    let requests = [Request::SetVringCall, Request::SetVringErr, Request::SetVringKick];
    let place = pass_on(device, move |message, fds| {
        let bell = requests.iter().find(|bell| message[..4] == (**bell as u32).to_ne_bytes());
        if let (Some(bell), [fd]) = (bell, fds) {
            let _ = sender.send((*bell, fd.try_clone().unwrap()));
        }
    });
    (place, bells)
}

/// Shows each message to `see`, which may change it.
fn pass_on(device: &Place, mut see: impl FnMut(&mut [u8], &[OwnedFd]) + Send + 'static) -> Place {
    let place = Place::new();
    let listener = UnixListener::bind(&place.path).unwrap();
    let device = UnixStream::connect(&device.path).unwrap();
    std::thread::spawn(move || {
        let (front_end, _) = listener.accept().unwrap();
        let mut answers = (device.try_clone().unwrap(), front_end.try_clone().unwrap());
        let back = std::thread::spawn(move || std::io::copy(&mut answers.0, &mut answers.1));
        while let Some((mut message, fds)) = next_message(&front_end) {
            see(&mut message, &fds);
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            // Messages are few and short: the socket has room.
            if scm::send(device.as_fd(), &message, &fds).is_err() {
                break;
            }
        }
        // The front-end is gone.
        let _ = device.shutdown(std::net::Shutdown::Both);
        let _ = back.join();
    });
    place
}

fn next_message(from: &UnixStream) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut message, mut fds) = (Vec::new(), Vec::new());
    read(from, 12, &mut message, &mut fds)?;
    let payload = u32::from_ne_bytes(message[8..].try_into().unwrap());
    read(from, payload as usize, &mut message, &mut fds)?;
    Some((message, fds))
}

/// Reads `len` bytes more; `None` at the end.
fn read(
    from: &UnixStream,
    len: usize,
    message: &mut Vec<u8>,
    fds: &mut Vec<OwnedFd>,
) -> Option<()> {
    let end = message.len() + len;
    while message.len() < end {
        let mut buffer = vec![0; end - message.len()];
        match scm::recv(from.as_fd(), &mut buffer) {
            Ok(received) if received.len == 0 => return None,
            Ok(received) => {
                message.extend_from_slice(&buffer[..received.len]);
                fds.extend(received.fds);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut set = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                poll(&mut set, PollTimeout::NONE).ok()?;
            }
            Err(_) => return None,
        }
    }
    Some(())
}
