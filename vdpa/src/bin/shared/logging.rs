//! The log on standard error.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Structured lines with levels.
pub(crate) fn start(verbose: bool) {
    let level = if verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level)
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .finish()
        // Not what is below, frame by frame.
        .with(Targets::new().with_target("ringport", level))
        .init();
}
