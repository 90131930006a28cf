//! The pod of a container: its annotations tell the application what the file of
//! [`container`](crate::container) tells it, for applications that read them through the downward API.
//!
//! ADD reads the pod before anything is made, so that a pod that is gone or an API server that is down
//! costs nothing, and writes the annotations last. A write names the version that was read
//! (`resourceVersion`): whoever changed the pod in between wins, and the change is made anew on what
//! is there then. It is the whole pod that is put back at `pods/status`, since roles of meta-plugins
//! allow `update` there and often not `patch`.
//!
//! DEL never needs the API server: it removes the entry if that can be done within a [`Budget`], and
//! the next ADD of the same interface replaces an entry that was left.
//!
//! What is in the annotations already may be anybody's who may edit the pod. It is compared and
//! handed on, never used as a path.
//!
//! Spec: Kubernetes API v1 `Pod`; API conventions, "Concurrency Control and Consistency".

pub mod annotation;
pub mod mapped;
mod pod;

#[cfg(feature = "kubernetes")]
mod client;
#[cfg(feature = "kubernetes")]
mod kubeconfig;
#[cfg(feature = "kubernetes")]
mod visit;
#[cfg(not(feature = "kubernetes"))]
#[path = "absent.rs"]
mod visit;

pub use pod::PodName;
pub use visit::{Visit, remove};

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The time that all visits of one DEL or GC may take together.
#[derive(Debug)]
pub struct Budget(Cell<Duration>);

impl Budget {
    /// So much time.
    #[must_use]
    pub const fn new(time: Duration) -> Self {
        Self(Cell::new(time))
    }

    /// Does something that must be done by the given time, and counts how long it took. Nothing is
    /// done when no time is left.
    pub fn spend<T>(&self, visit: impl FnOnce(Instant) -> T) -> Option<T> {
        let left = self.0.get();
        if left.is_zero() {
            return None;
        }
        let begin = Instant::now();
        let done = visit(begin + left);
        self.0.set(left.saturating_sub(begin.elapsed()));
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visit_is_not_made_once_the_time_is_spent() {
        let budget = Budget::new(Duration::from_millis(5));
        let slow = |deadline: Instant| {
            while Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        assert_eq!(budget.spend(slow), Some(()));
        assert_eq!(budget.spend(|_| ()), None);
    }
}
