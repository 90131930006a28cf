//! A port of ours, the process behind it, and the frames on their way between the two.

use super::CHILD_PORT;
use super::any_port::{AnyPort, Happened, Queues};
use nix::sys::signal::Signal;
use ringport_bench::interop::frames::{Checker, fill};
use ringport_bench::interop::{Outcome, PATIENCE};
use ringport_bench::peers::CommandGuard;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Most frames on their way, both ways together: fewer than a ring's slots.
const WINDOW: u64 = 256;

const LENGTHS: [usize; 5] = [60, 64, 200, 576, 1500];

/// Frames that a lane sends in one turn.
const BURST: u64 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing happens to it, and it loses nothing.
    Steady,
    /// Something happens to it all the time.
    Troubled,
}

pub(crate) struct Lane {
    name: &'static str,
    fate: Fate,
    ours: String,
    theirs: String,
    socket: PathBuf,
    /// `None` only while another is opened.
    port: Option<AnyPort>,
    child: CommandGuard,
    queues: Option<Queues>,
    /// Checks what comes back over this link.
    checker: Checker,
    sent_on_link: u64,
    sent: u64,
    index: usize,
    ended: u64,
    returned_before: u64,
    lost: u64,
    /// When the peer goes on, while it is stopped.
    paused: Option<Instant>,
    next_trouble: Instant,
    moved: Instant,
    longest_silence: Duration,
    random: u64,
    frame: Vec<u8>,
}

fn len_of(number: u64) -> usize {
    LENGTHS[(number % 5) as usize]
}

impl Lane {
    pub(crate) fn start(
        (name, ours, theirs): (&'static str, &str, &str),
        fate: Fate,
        socket: PathBuf,
        index: usize,
    ) -> Outcome<Self> {
        let path = socket.display().to_string();
        let (ours, theirs) = (ours.replace('@', &path), theirs.replace('@', &path));
        let (port, child) = (Some(AnyPort::open(&ours)?), start_child(&theirs)?);
        Ok(Self {
            name,
            fate,
            ours,
            theirs,
            socket,
            port,
            child,
            queues: None,
            checker: Checker::new(index),
            sent_on_link: 0,
            sent: 0,
            index,
            ended: 0,
            returned_before: 0,
            lost: 0,
            paused: None,
            next_trouble: Instant::now() + Duration::from_secs(2),
            moved: Instant::now(),
            longest_silence: Duration::ZERO,
            random: 0x9e37_79b9_7f4a_7c15 ^ (index as u64 + 1),
            frame: Vec::new(),
        })
    }

    /// Packets, the link's events, and trouble when it is time for some.
    pub(crate) fn turn(&mut self) -> Outcome {
        self.quiet_turn()?;
        if self.fate == Fate::Troubled
            && self.paused.is_none()
            && self.next_trouble < Instant::now()
        {
            self.trouble()?;
            self.next_trouble = Instant::now() + Duration::from_millis(50 + self.random(1000));
        }
        Ok(())
    }

    pub(crate) fn quiet_turn(&mut self) -> Outcome {
        self.receive_turn()?;
        if let Some((_, tx)) = &mut self.queues {
            let room = WINDOW - (self.sent_on_link - self.checker.count());
            let Ok(mut burst) = tx.tx_burst(BURST.min(room) as usize) else { return Ok(()) };
            for number in (self.sent_on_link..).take(burst.free()) {
                self.frame.resize(len_of(number), 0);
                fill(&mut self.frame, self.index, number);
                burst.push(&self.frame)?;
            }
            let sent = burst.commit() as u64;
            self.sent_on_link += sent;
            self.sent += sent;
        }
        Ok(())
    }

    pub(crate) fn receive_turn(&mut self) -> Outcome {
        if self.paused.is_some_and(|until| until < Instant::now()) {
            self.child.resume()?;
            self.paused = None;
        }
        self.events()?;
        self.receive().map_err(|error| format!("{}: {error}", self.describe()))?;
        let idle = self.outstanding() == 0 || self.paused.is_some();
        if idle {
            self.moved = Instant::now();
        }
        let silence = self.moved.elapsed();
        self.longest_silence = self.longest_silence.max(silence);
        if self.is_up() && silence > PATIENCE {
            return Err(format!("{}: nothing came for {silence:?}", self.describe()).into());
        }
        Ok(())
    }

    fn events(&mut self) -> Outcome {
        while let Some(port) = &mut self.port {
            match port.poll(Duration::ZERO)? {
                Happened::Up(queues) => {
                    self.queues = Some(queues);
                    self.moved = Instant::now();
                    self.checker = Checker::new(self.index);
                    self.sent_on_link = 0;
                }
                Happened::Down(why) if self.fate == Fate::Steady => {
                    return Err(format!("{}: {why}", self.describe()).into());
                }
                Happened::Down(_) => self.link_ended(),
                Happened::Else => {}
                Happened::Nothing => break,
            }
        }
        Ok(())
    }

    /// What was on its way is lost.
    fn link_ended(&mut self) {
        if self.queues.take().is_some() {
            self.ended += 1;
            self.lost += self.outstanding();
            self.returned_before += self.checker.count();
        }
        self.checker = Checker::new(self.index);
        self.sent_on_link = 0;
    }

    fn receive(&mut self) -> Outcome {
        let Some((rx, _)) = &mut self.queues else { return Ok(()) };
        // The end of a link is an event of the port.
        let Ok(burst) = rx.rx_burst(256) else { return Ok(()) };
        for packet in burst.packets() {
            if self.checker.count() == self.sent_on_link {
                return Err("more frames than were sent".into());
            }
            self.checker.take(&packet, len_of)?;
            self.moved = Instant::now();
        }
        let count = burst.len();
        burst.release(count);
        Ok(())
    }

    fn trouble(&mut self) -> Outcome {
        match self.random(4) {
            0 => {
                self.child.signal(Signal::SIGKILL)?;
                self.child.wait_end(PATIENCE)?;
                self.child = start_child(&self.theirs)?;
            }
            1 => {
                self.child.pause()?;
                self.paused = Some(Instant::now() + Duration::from_millis(self.random(300)));
            }
            2 => {
                // Closed first: it may listen where the next one does.
                self.port = None;
                self.link_ended();
                self.port = Some(AnyPort::open(&self.ours)?);
            }
            _ => self.stranger(),
        }
        Ok(())
    }

    /// Says nonsense at the socket, whoever listens there, and leaves.
    fn stranger(&self) {
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            // It may be thrown out at any moment.
            let _ = stream.set_nonblocking(true);
            let _ = stream.write(&[0xa5; 300]);
        }
    }

    fn random(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn describe(&self) -> String {
        format!("{} ({:?}), its peer said: {}", self.name, self.fate, self.child.log())
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn is_up(&self) -> bool {
        self.queues.is_some() && self.paused.is_none()
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.sent_on_link - self.checker.count()
    }

    pub(crate) fn ends(&self) -> u64 {
        self.ended
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn returned(&self) -> u64 {
        self.returned_before + self.checker.count()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// A line of the report's table.
    pub(crate) fn row(&self) -> String {
        let fate = match self.fate {
            Fate::Steady => "left alone",
            Fate::Troubled => "killed, stopped, restarted",
        };
        format!(
            "| {} | {fate} | {} | {} | {} | {} ms |",
            self.name,
            self.ended,
            self.returned(),
            self.lost,
            self.longest_silence.as_millis()
        )
    }
}

fn start_child(port: &str) -> Outcome<CommandGuard> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "child_peer", "--ignored", "--nocapture"]).env(CHILD_PORT, port);
    Ok(CommandGuard::spawn("our peer", &mut command)?)
}
