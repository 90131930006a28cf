//! Lines of a socket, bounded in length and in time.

use super::super::stop::timeout;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// A connection. Waits end when `stop` is readable.
#[derive(Debug)]
pub(super) struct Lines<'s> {
    stream: UnixStream,
    stop: Option<BorrowedFd<'s>>,
    read: Vec<u8>,
}

/// Bytes that are read at a time.
const CHUNK: usize = 4096;

impl<'s> Lines<'s> {
    pub(super) fn new(stream: UnixStream, stop: Option<BorrowedFd<'s>>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, stop, read: Vec::new() })
    }

    /// The next line, without its end; none when the other side has closed.
    ///
    /// # Errors
    /// `InvalidData`: more than `max` bytes. `TimedOut`: it did not come in time. `Interrupted`: it is to
    /// stop. Or what the system says.
    pub(super) fn next(&mut self, max: usize, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        // Where the search for the end goes on.
        let mut searched = 0;
        loop {
            if let Some(found) = self.read[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.read.split_off(searched + found + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.pop();
                return if line.len() < max { Ok(Some(line)) } else { Err(too_long()) };
            }
            searched = self.read.len();
            if searched >= max {
                return Err(too_long());
            }
            let mut chunk = [0; CHUNK];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(len) => self.read.extend_from_slice(chunk.get(..len).unwrap_or(&chunk)),
                Err(error) => self.wait_after(error, PollFlags::POLLIN, deadline)?,
            }
        }
    }

    /// Sends a line, which ends with its end.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(super) fn send(&mut self, mut line: &[u8], deadline: Instant) -> io::Result<()> {
        while !line.is_empty() {
            match self.stream.write(line) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => line = line.get(len..).unwrap_or_default(),
                Err(error) => self.wait_after(error, PollFlags::POLLOUT, deadline)?,
            }
        }
        Ok(())
    }

    fn wait_after(&self, error: io::Error, flags: PollFlags, deadline: Instant) -> io::Result<()> {
        match error.kind() {
            ErrorKind::Interrupted => return Ok(()),
            ErrorKind::WouldBlock => {}
            _ => return Err(error),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.wait(flags, timeout(left))
    }

    fn wait(&self, flags: PollFlags, timeout: PollTimeout) -> io::Result<()> {
        let mut fds = vec![PollFd::new(self.stream.as_fd(), flags)];
        fds.extend(self.stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stops = fds.get(1).is_some_and(|stop| stop.any().unwrap_or(true));
        if stops { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

fn too_long() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the line is too long")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pair() -> (Lines<'static>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Lines::new(ours, None).unwrap(), theirs)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn lines_are_told_apart_however_they_come() {
        let (mut lines, mut peer) = pair();
        peer.write_all(b"one\ntwo\nth").unwrap();
        assert_eq!(lines.next(16, soon()).unwrap().unwrap(), b"one");
        assert_eq!(lines.next(16, soon()).unwrap().unwrap(), b"two");
        let error = lines.next(16, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        peer.write_all(b"ree\n").unwrap();
        drop(peer);
        assert_eq!(lines.next(16, soon()).unwrap().unwrap(), b"three");
        assert_eq!(lines.next(16, soon()).unwrap(), None);
    }

    #[test]
    fn line_without_an_end_is_refused_at_the_bound() {
        let (mut lines, mut peer) = pair();
        peer.write_all(&[b'x'; 16]).unwrap();
        assert_eq!(lines.next(16, soon()).unwrap_err().kind(), ErrorKind::InvalidData);
        let (mut lines, mut peer) = pair();
        peer.write_all(b"fifteen bytes..\n").unwrap();
        assert_eq!(lines.next(16, soon()).unwrap().unwrap().len(), 15);
    }

    #[test]
    fn peer_that_does_not_read_costs_its_time_only() {
        let (mut lines, _peer) = pair();
        let much = vec![b'x'; 8 << 20];
        let error = lines.send(&much, Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
