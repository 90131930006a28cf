//! Where the log goes: the configured file, or standard error.

use crate::conf::NetConf;
use std::fs::OpenOptions;
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;

/// Starts logging as the configuration says. A file that cannot be opened, or a level that nobody
/// knows, does not keep an interface from being made: it is said on standard error.
pub fn start(conf: &NetConf) {
    let level = level(&conf.log_level);
    let filter = level.unwrap_or(LevelFilter::WARN);
    let builder = tracing_subscriber::fmt().with_ansi(false).with_max_level(filter);
    // A line that cannot be written is lost. To say so on standard error would end the process where
    // that cannot be written either, in the middle of an ADD.
    let builder = builder.log_internal_errors(false);
    // Starting twice in one process leaves the first one in place.
    if conf.log_file.is_empty() {
        let _ = builder.with_writer(std::io::stderr).try_init();
    } else {
        match OpenOptions::new().create(true).append(true).open(&conf.log_file) {
            Ok(file) => drop(builder.with_writer(Mutex::new(file)).try_init()),
            Err(error) => {
                let _ = builder.with_writer(std::io::stderr).try_init();
                tracing::warn!(file = conf.log_file, %error, "cannot open the log file");
            }
        }
    }
    if level.is_none() {
        tracing::warn!(key = "logLevel", value = conf.log_level, "unknown level, using warning");
    }
}

fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "panic" | "error" => LevelFilter::ERROR,
        "" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "verbose" => LevelFilter::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_in_any_case_and_others_are_not() {
        assert_eq!(level("Verbose"), Some(LevelFilter::TRACE));
        assert_eq!(level(""), Some(LevelFilter::WARN));
        assert_eq!(level("loud"), None);
    }
}
