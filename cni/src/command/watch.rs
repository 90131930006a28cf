//! Reconciling again and again, until somebody says that it is enough.

use super::reconcile::{Round, go_round, reconcile};
use crate::conf::NetConf;
use crate::error::{CniError, code};
use crate::logging;
use crate::state::Owner;
use crate::version::CniVersion;
use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long to wait between two rounds when nothing else is said.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: u64 = 24 * 60 * 60;
/// How long a round that is going on may take when it is to end. What is cut off is finished by the next
/// one: see [`crate::state::Phase::Restoring`].
const GRACE: Duration = Duration::from_secs(5);

/// What `userspace reconcile` is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where the records are.
    data_dir: Option<PathBuf>,
    /// Pause between two rounds, if there is to be more than one.
    pause: Option<Duration>,
}

impl Task {
    /// Reads the arguments `[DATADIR] [--watch [SECONDS]]`.
    ///
    /// # Errors
    /// Code 4 with what is wrong.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, CniError> {
        let mut task = Self { data_dir: None, pause: None };
        for argument in arguments {
            // A number behind `--watch`, and only there, is one of seconds.
            let seconds = argument.parse::<u64>().ok().filter(|_| task.pause == Some(PAUSE));
            match (argument.as_str(), seconds) {
                ("--watch", _) if task.pause.is_none() => task.pause = Some(PAUSE),
                (_, Some(seconds @ 1..=PAUSE_MAX)) => {
                    task.pause = Some(Duration::from_secs(seconds));
                }
                (text, None) if task.data_dir.is_none() && !text.starts_with('-') => {
                    task.data_dir = Some(PathBuf::from(text));
                }
                _ => {
                    let msg = "reconcile takes [DATADIR] [--watch [SECONDS]], at most a day";
                    return Err(CniError::new(code::BAD_ENVIRONMENT, msg).with_details(argument));
                }
            }
        }
        Ok(task)
    }

    /// Does what is asked. Returns what was done by a single round, and whether all went well.
    ///
    /// # Errors
    /// Code 5 when there are no records to be read.
    pub fn run(&self) -> Result<(Option<Value>, bool), CniError> {
        let Some(pause) = self.pause else {
            return reconcile(self.data_dir.as_deref()).map(|(done, well)| (Some(done), well));
        };
        watch(self.data_dir.as_deref(), pause)
            .map_err(|e| CniError::caused(code::IO, "cannot watch", &e))?;
        Ok((None, true))
    }
}

/// Goes round until SIGTERM or SIGINT, and says on standard error, one line each, what was put back and
/// what newly fails.
fn watch(data_dir: Option<&Path>, pause: Duration) -> io::Result<()> {
    logging::start(&NetConf::default());
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.add(Signal::SIGINT);
    // Before there is another thread, which would be ended by them.
    end.thread_block()?;
    let (stop, stopped) = channel::<()>();
    let (ended, end_of_rounds) = channel::<()>();
    let data_dir = data_dir.map(Path::to_owned);
    std::thread::Builder::new().spawn(move || {
        rounds(data_dir.as_deref(), pause, &stopped);
        drop(ended);
    })?;
    end.wait()?;
    drop(stop);
    // However it ends: nothing is left that the next one would not finish.
    let _ = end_of_rounds.recv_timeout(GRACE);
    Ok(())
}

fn rounds(data_dir: Option<&Path>, pause: Duration, stopped: &Receiver<()>) {
    let mut failing = Vec::new();
    loop {
        match go_round(data_dir) {
            Ok(round) => failing = tell(round, &failing),
            Err(error) => failing = tell_failures(vec![(None, error)], &failing),
        }
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Says what a round did; returns its failures, of which those in `before` are known already.
fn tell(round: Round, before: &[Failure]) -> Vec<Failure> {
    for owner in &round.restored {
        say(&format!("{}: made again", name(owner)));
    }
    for (owner, set) in round.there.iter().filter(|(_, set)| !set.is_empty()) {
        say(&format!("{}: put back {}", name(owner), set.join(", ")));
    }
    let failed = round.failed.into_iter().map(|(owner, error)| (Some(owner), error));
    tell_failures(failed.collect(), before)
}

/// An attachment, or none when it is all of them, and what is wrong with it.
type Failure = (Option<Owner>, CniError);

fn tell_failures(failures: Vec<Failure>, before: &[Failure]) -> Vec<Failure> {
    for failure in failures.iter().filter(|failure| !before.contains(failure)) {
        let (owner, error) = failure;
        let whose = owner.as_ref().map_or_else(|| "all".to_owned(), name);
        say(&format!("{whose}: {}", error.to_json(CniVersion::NEWEST)));
    }
    failures
}

fn name(owner: &Owner) -> String {
    format!("{}/{}/{}", owner.network, owner.container_id, owner.if_name)
}

fn say(line: &str) {
    // Nobody is left to be told when it cannot be said.
    let _ = writeln!(io::stderr().lock(), "userspace: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Task, CniError> {
        Task::read(arguments.iter().map(|it| (*it).to_owned()))
    }

    #[test]
    fn directory_and_pause_come_in_any_order_and_may_be_left_out() {
        let task = |data_dir: Option<&str>, pause: Option<u64>| Task {
            data_dir: data_dir.map(PathBuf::from),
            pause: pause.map(Duration::from_secs),
        };
        assert_eq!(read(&[]).unwrap(), task(None, None));
        assert_eq!(read(&["/d"]).unwrap(), task(Some("/d"), None));
        assert_eq!(read(&["7"]).unwrap(), task(Some("7"), None));
        assert_eq!(read(&["--watch"]).unwrap(), task(None, Some(10)));
        assert_eq!(read(&["--watch", "/d"]).unwrap(), task(Some("/d"), Some(10)));
        assert_eq!(read(&["/d", "--watch", "3"]).unwrap(), task(Some("/d"), Some(3)));
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for wrong in [
            &["--wait"][..],
            &["/d", "/e"],
            &["--watch", "0"],
            &["--watch", "86401"],
            &["--watch", "--watch"],
        ] {
            assert_eq!(read(wrong).unwrap_err().code, 4, "{wrong:?}");
        }
    }
}
