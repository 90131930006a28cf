//! Commands to a daemon, at a UNIX socket.
//!
//! A client sends a command, one JSON object on one line of at most 4096 bytes, and gets one line in answer;
//! then it may send the next.
//!
//! | command | answer |
//! |---|---|
//! | `{"do":"list"}` | `{"devices":[...]}`: all [devices](super::DeviceStatus) |
//! | `{"do":"stats","device":"0000:82:00.2"}` | the same of one; without `device` of all |
//! | `{"do":"add","device":"0000:82:00.2"}` | the device, after it was opened or could not be, or 3 s; with `"socket":"/path"` not by its number, with `"side":"client"` we connect |
//! | `{"do":"remove","device":"0000:82:00.2"}` | `{"removed":true}`; `false` when that goes on still after 5 s |
//! | `{"do":"quit"}` | `"quitting"`: the daemon ends |
//!
//! ```text
//! {"devices":[{"device":"0000:82:00.2","socket":"/run/vdpa/vhost/vdpa-0","side":"server","state":"ready",
//!   "kind":"vfio-pci","kicks":null,"trouble":null,"statistics":{"opened":1,"given_up":0,"links":0,...}}]}
//! {"refused":"0000:82:00.3 is not served: list shows what is"}
//! ```
//!
//! What cannot be done is answered with `refused`; so is what is no command, and then the connection is
//! closed. So it is after a line that is too long, after 30 s in which no whole line came, and when an answer
//! is not read for 5 s. One connection more than 8 is refused. Whoever may write the socket may command.

mod client;
mod lines;
mod server;

pub use client::{ControlClient, ControlError};
pub use server::ControlServer;

use super::{DeviceName, DeviceStatus, Wanted};
use serde::{Deserialize, Serialize};

/// Where commands are taken, unless it is said otherwise.
pub const SOCKET: &str = "/var/run/vdpa/control.sock";

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// All devices.
    List {},
    /// One device, or all.
    Stats {
        /// Which one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceName>,
    },
    /// Serve a device.
    Add(Wanted),
    /// Give a device back.
    Remove {
        /// Which one.
        device: DeviceName,
    },
    /// End the daemon.
    Quit {},
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Devices that were asked for.
    Devices(Vec<DeviceStatus>),
    /// The device was given back; `false`: that goes on.
    Removed(bool),
    /// The daemon is about to end.
    Quitting,
    /// Nothing was done.
    Refused(String),
}

/// Most bytes of a command, its end included.
const COMMAND_MAX: usize = 4096;
/// Most bytes of an answer: more than as many devices take as fit.
const ANSWER_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_as_documented_and_nothing_else_is_one() {
        let parse = |text: &str| serde_json::from_str::<Command>(text);
        let device: DeviceName = "82:00.2".parse().unwrap();
        assert_eq!(parse(r#"{"do":"list"}"#).unwrap(), Command::List {});
        let stats = parse(r#"{"do":"stats","device":"0000:82:00.2"}"#).unwrap();
        assert_eq!(stats, Command::Stats { device: Some(device.clone()) });
        assert_eq!(parse(r#"{"do":"stats"}"#).unwrap(), Command::Stats { device: None });
        let add = parse(r#"{"do":"add","device":"0000:82:00.2"}"#).unwrap();
        assert_eq!(add, Command::Add(Wanted::new(device.clone())));
        let remove = parse(r#"{"do":"remove","device":"82:00.2"}"#).unwrap();
        assert_eq!(remove, Command::Remove { device });
        for wrong in [
            r#"{"do":"list","device":"82:00.2"}"#,
            r#"{"do":"add"}"#,
            r#"{"do":"add","device":"82:00.2","mode":"660"}"#,
            r#"{"do":"remove","device":"vdpa0"}"#,
            r#"{"do":"format"}"#,
            "[]",
            "",
        ] {
            parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn commands_and_answers_survive_the_way() {
        let command = Command::Add(Wanted::new("/dev/vhost-vdpa-3".parse().unwrap()));
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
        let answer = Answer::Removed(false);
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"removed":false}"#);
        assert_eq!(serde_json::to_string(&Answer::Quitting).unwrap(), r#""quitting""#);
    }
}
