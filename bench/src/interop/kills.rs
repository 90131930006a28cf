//! Processes of ours that are killed at random moments, and the port that outlives them.

use super::ports::{AnyPort, Queues, Seen, open, wait_up};
use super::soak::Soak;
use super::{Outcome, PATIENCE, wait_until};
use crate::peers::CommandGuard;
use nix::sys::signal::Signal;
use std::process::Command;
use std::time::{Duration, Instant};

/// What our own peer process is told to be: a port string.
const CHILD_PORT: &str = "RINGPORT_SOAK_CHILD_PORT";

/// Longest life of a peer. Most die within the first moments of their link, some before it.
const LIFE_MAX_MICROS: u64 = 30_000;

/// What the program is when it was started as a peer: it moves packets until it is killed. Returns
/// at once when it was not.
///
/// # Errors
/// When its port cannot be opened or polled.
pub fn live() -> Outcome {
    let Ok(text) = std::env::var(CHILD_PORT) else { return Ok(()) };
    let mut port = open(&text)?;
    let mut link: Option<Queues> = None;
    loop {
        match port.look(Duration::ZERO)? {
            Seen::Up(up) => link = Some(up),
            Seen::Gone | Seen::Wrong(_) => link = None,
            Seen::Refused(_) | Seen::Other => {}
            Seen::Nothing => match &mut link {
                // A fault of the queues is reported by the port.
                Some(link) => drop(link.pump(Duration::from_millis(1))),
                None => std::thread::sleep(Duration::from_micros(200)),
            },
        }
    }
}

/// Starts this test program as a peer; `child_peer` is the test in it that calls [`live`].
///
/// # Errors
/// When it cannot be started.
pub fn start_child(port: &str) -> Outcome<CommandGuard> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "child_peer", "--ignored", "--nocapture"]).env(CHILD_PORT, port);
    Ok(CommandGuard::spawn("our peer", &mut command)?)
}

/// Kills peers at any moment, from before they connect to the middle of traffic. `ours` and `theirs`
/// are port strings.
///
/// # Errors
/// What became of ours that must not: a fault, a link that stays or never comes, something left
/// behind.
pub fn kills(mut soak: Soak, ours: &str, theirs: &str) -> Outcome {
    let mut port = open(ours)?;
    let (mut links, mut frames, mut seed) = (0_u64, 0, 0x2545_f491_4f6c_dd1d);
    while soak.goes_on() {
        let mut child = start_child(theirs)?;
        let end = Instant::now() + Duration::from_micros(random(&mut seed, LIFE_MAX_MICROS));
        let up = move_until(port.as_mut(), end)?;
        child.signal(Signal::SIGKILL)?;
        child.wait_end(Duration::from_secs(5))?;
        if let Some(mut link) = up {
            // What it published is still ours to take, and nothing of it may be a fault.
            link.pump(Duration::from_micros(100))?;
            frames += link.received();
            links += 1;
            wait_gone(port.as_mut())
                .map_err(|error| format!("round {}: {error}", soak.rounds()))?;
        } else {
            settle(port.as_mut())?;
        }
        drop(child);
        soak.round()?;
    }
    soak.notes = format!("{links} links, {frames} frames received");
    soak.report();
    // After all of that a peer that lives works.
    let _child = start_child(theirs)?;
    wait_up(port.as_mut())?.pump(Duration::from_millis(20))
}

/// Has the port and the link that it gets move until then.
fn move_until(port: &mut dyn AnyPort, end: Instant) -> Outcome<Option<Queues>> {
    let mut up: Option<Queues> = None;
    while Instant::now() < end {
        match port.look(Duration::from_micros(100))? {
            Seen::Up(link) => up = Some(link),
            Seen::Gone => return Err("the link of a peer that lives is down".into()),
            Seen::Wrong(why) => return Err(why.into()),
            Seen::Refused(_) | Seen::Other | Seen::Nothing => {}
        }
        if let Some(link) = &mut up {
            link.pump(Duration::from_micros(100))?;
        }
    }
    Ok(up)
}

fn wait_gone(port: &mut dyn AnyPort) -> Outcome {
    wait_until("the link to go down", || match port.look(Duration::from_millis(1))? {
        Seen::Gone => Ok(Some(())),
        Seen::Up(_) => Err("a link came up".into()),
        Seen::Wrong(why) => Err(why.into()),
        Seen::Refused(_) | Seen::Other | Seen::Nothing => Ok(None),
    })
}

/// A peer that was killed in its handshake: what is left of it goes away, or a link that came up
/// unseen goes down.
fn settle(port: &mut dyn AnyPort) -> Outcome {
    let mut up = false;
    loop {
        let patience = if up { PATIENCE } else { Duration::from_millis(2) };
        match port.look(patience)? {
            Seen::Up(_) => up = true,
            Seen::Gone => up = false,
            Seen::Wrong(why) => return Err(why.into()),
            Seen::Refused(_) | Seen::Other => {}
            Seen::Nothing if up => return Err("a link to a dead peer".into()),
            Seen::Nothing => return Ok(()),
        }
    }
}

/// A number below `limit` that differs each time.
fn random(state: &mut u64, limit: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % limit
}
