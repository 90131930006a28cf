//! How a program ends that failed.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// Says why on standard error, in one line.
pub(crate) fn failed(error: &dyn Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    // Where stderr is gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "error: {text}");
    ExitCode::FAILURE
}
