//! A port whose process has no descriptors or no memory left, at every point of a link's beginning.

use super::census::Census;
use super::kills::start_child;
use super::ports::{AnyPort, Seen, open, wait_up};
use super::{Outcome, wait_until};
use crate::peers::CommandGuard;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fmt;
use std::fs::File;
use std::time::Duration;

/// A port of ours, and the one of a child process that it gets its links with: port strings.
#[derive(Debug)]
pub struct Ends<'p> {
    /// Ours.
    pub ours: &'p str,
    /// Of the child process.
    pub theirs: &'p str,
    /// Whether the child listens, and is started first.
    pub child_listens: bool,
}

/// Something that a process can run out of.
pub trait Resources {
    /// What is left in round `number`, a little more each time; while it lives, there is no more.
    ///
    /// # Errors
    /// When it cannot be limited.
    fn limit(&self, number: u64) -> Outcome<Box<dyn fmt::Debug>>;
}

/// Descriptors: as many as the number of the round.
#[derive(Debug)]
pub struct Descriptors;

/// Address space: none for more pages than the last round had, twice as much each time.
#[derive(Debug)]
pub struct AddressSpace;

/// Size of files, of which memory is one: nothing but what the round gives, twice as much each time.
#[derive(Debug)]
pub struct FileSize;

/// What happened to a link while something was lacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Why there was none.
    Reason(String),
    /// There was enough for it.
    Enough,
}

/// Lets a port have more and more, until a link comes up. After each round, with all that there is,
/// a link comes up as ever, and nothing stays behind. Returns the reasons that were given.
///
/// # Errors
/// When a round has no result, or leaves something behind.
pub fn exhaust(ends: &Ends<'_>, what: &dyn Resources) -> Outcome<Vec<String>> {
    let mut reasons = Vec::new();
    // Once for what is made on first use and stays.
    round(ends, None)?;
    let census = Census::take();
    for number in 0..ROUNDS_MAX {
        let result = round(ends, Some((what, number)));
        let result = result.map_err(|error| format!("round {number}: {error}; {reasons:?}"))?;
        census.compare().map_err(|error| format!("round {number}, {result:?}: {error}"))?;
        match result {
            Ending::Reason(reason) => reasons.push(reason),
            Ending::Enough => return Ok(reasons),
        }
    }
    Err(format!("no link with any of {ROUNDS_MAX} limits: {reasons:?}").into())
}

/// More than any link takes.
const ROUNDS_MAX: u64 = 40;

fn round(ends: &Ends<'_>, limit: Option<(&dyn Resources, u64)>) -> Outcome<Ending> {
    let early = if ends.child_listens { Some(listening_child(ends)?) } else { None };
    let mut port = open(ends.ours)?;
    let _child = match early {
        Some(child) => child,
        None => start_child(ends.theirs)?,
    };
    let limited = limit.map(|(what, number)| what.limit(number)).transpose()?;
    let result = first_result(port.as_mut())?;
    drop(limited);
    if result != Ending::Enough {
        wait_up(port.as_mut())?.pump(Duration::from_millis(1))?;
    }
    Ok(result)
}

fn listening_child(ends: &Ends<'_>) -> Outcome<CommandGuard> {
    let path = ends.theirs.split_once(':').map_or("", |(_, rest)| rest);
    let path = path.split(',').next().unwrap_or_default();
    // The child before was killed and has left its own.
    let _ = std::fs::remove_file(path);
    let child = start_child(ends.theirs)?;
    wait_until("the child's socket", || Ok(std::fs::exists(path)?.then_some(())))?;
    Ok(child)
}

fn first_result(port: &mut dyn AnyPort) -> Outcome<Ending> {
    wait_until("a link or a reason", || match port.look(Duration::from_millis(1))? {
        Seen::Up(_) => Ok(Some(Ending::Enough)),
        // Before the child listens, or when it has left for want of an answer.
        Seen::Refused(why) if why.contains("Connection refused") => Ok(None),
        Seen::Refused(why) | Seen::Wrong(why) => Ok(Some(Ending::Reason(why))),
        Seen::Gone | Seen::Other | Seen::Nothing => Ok(None),
    })
}

impl Resources for Descriptors {
    fn limit(&self, number: u64) -> Outcome<Box<dyn fmt::Debug>> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let restore = Restore::new(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(256), hard)?;
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        taken.truncate(taken.len().saturating_sub(usize::try_from(number)?));
        Ok(Box::new((taken, restore)))
    }
}

impl Resources for AddressSpace {
    fn limit(&self, number: u64) -> Outcome<Box<dyn fmt::Debug>> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap_or_default();
        let taken: u64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
        limit_to(Resource::RLIMIT_AS, (taken << 10) + (4096 << number))
    }
}

impl Resources for FileSize {
    fn limit(&self, number: u64) -> Outcome<Box<dyn fmt::Debug>> {
        limit_to(Resource::RLIMIT_FSIZE, 4096 << number)
    }
}

fn limit_to(resource: Resource, limit: u64) -> Outcome<Box<dyn fmt::Debug>> {
    let restore = Restore::new(resource)?;
    setrlimit(resource, limit, restore.hard)?;
    Ok(Box::new(restore))
}

/// Gives back a limit that was taken down.
#[derive(Debug)]
struct Restore {
    resource: Resource,
    soft: u64,
    hard: u64,
}

impl Restore {
    fn new(resource: Resource) -> Outcome<Self> {
        let (soft, hard) = getrlimit(resource)?;
        Ok(Self { resource, soft, hard })
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // It was the limit before.
        let _ = setrlimit(self.resource, self.soft, self.hard);
    }
}
