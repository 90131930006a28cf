//! What can go wrong with a device.

use ringport::error::CallError;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use thiserror::Error;

/// Why a device cannot be used, or not so. Each says what would help, where something does.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It cannot be opened.
    #[error("{path} cannot be opened{}", .hint.map(|hint| format!(": {hint}")).unwrap_or_default(), path = .path.display())]
    Open {
        /// Its file.
        path: PathBuf,
        /// What would help.
        hint: Option<&'static str>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a call.
    #[error("{call}")]
    Call {
        /// The call.
        call: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The device is gone.
    #[error("the device is gone")]
    Gone,
    /// It did not give back memory, so that it was closed: nobody else may find it in their place.
    #[error("the device did not give memory back, and was closed, to be opened anew: {why}")]
    KeepsMemory {
        /// What it said.
        why: String,
    },
    /// It has no such bytes of configuration.
    #[error("the configuration has {len} bytes, and not those from {offset} on")]
    NoConfig {
        /// The first byte that was asked for.
        offset: u32,
        /// Bytes that there are.
        len: u32,
    },
    /// It did not do in time what it was told.
    #[error("the device did not {what} within {seconds} s")]
    Late {
        /// What it was to do.
        what: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// It did not take the features that it had offered.
    #[error("the device refuses features {features:#x}, all of which it offered")]
    FeaturesRefused {
        /// Those.
        features: u64,
    },
    /// Memory lies where the device cannot reach it.
    #[error(
        "memory at {:#x} to {:#x} is out of the device's reach, which is {}",
        .wanted.start(), .wanted.end(), show(.reach)
    )]
    OutOfReach {
        /// Where it lies.
        wanted: RangeInclusive<u64>,
        /// What it can reach.
        reach: Vec<RangeInclusive<u64>>,
    },
    /// Memory overlaps other memory.
    #[error("memory at {:#x} to {:#x} overlaps other memory", .0.start(), .0.end())]
    Overlap(RangeInclusive<u64>),
    /// More memory than may be locked.
    #[error(
        "{wanted} bytes would be locked, and {limit} may be: raise RLIMIT_MEMLOCK (LimitMEMLOCK= in a \
         systemd unit, ulimits in a container) to {wanted} or more"
    )]
    MemoryLock {
        /// Bytes that would be locked in all.
        wanted: u64,
        /// Bytes that may be.
        limit: u64,
    },
    /// More mappings than the kernel takes.
    #[error(
        "the memory may need up to {wanted} mappings, and {limit} are allowed: use huge pages, or raise \
         {setting}"
    )]
    TooManyMappings {
        /// Most that it can need.
        wanted: u64,
        /// As many as there may be.
        limit: u64,
        /// What raises that.
        setting: &'static str,
    },
    /// A ring cannot be as it is to be.
    #[error("ring {ring} {why}")]
    BadRing {
        /// Its number.
        ring: u16,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The device says something that cannot be.
    #[error("the device says what cannot be: {0}")]
    Absurd(String),
    /// The device cannot do that.
    #[error("the device cannot {0}")]
    Unable(&'static str),
}

impl From<CallError> for DeviceError {
    fn from(CallError { operation, source }: CallError) -> Self {
        Self::Call { call: operation, source }
    }
}

fn show(reach: &[RangeInclusive<u64>]) -> String {
    let ranges = reach.iter().map(|range| format!("{:#x} to {:#x}", range.start(), range.end()));
    ranges.collect::<Vec<_>>().join(", ")
}

/// An error with its causes, on one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
