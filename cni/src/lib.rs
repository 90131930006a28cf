//! The CNI plugin `userspace`: it gives containers memif and vhost-user interfaces on userspace
//! vswitches, and takes them away again without leaving anything behind.
//!
//! A call goes this way:
//!
//! 1. [`mod@env`] reads what the runtime says about the call, [`conf`] the network configuration.
//!    [`plan`] makes of both one checked value, or refuses with the key, its value and the reason.
//! 2. [`state`] writes the intent: a record of every step that is about to be taken.
//! 3. An engine of [`engines`] changes the vswitch, [`ipam`] asks the delegate for addresses,
//!    [`container`] writes what the application in the container needs to know, [`device_info`] the
//!    same for the runtime, and [`kubernetes`] into the annotations of its pod.
//! 4. The result is noted in the record, and [`result`] words it in the configuration's version.
//!
//! Whatever fails, and wherever the process is killed, the record says what may be there; a later
//! DEL or GC takes it away, needing neither the network namespace nor the configuration.
//!
//! Nothing but the result goes to standard output.

#![forbid(unsafe_code)]

pub mod command;
pub mod conf;
pub mod container;
pub mod device_info;
pub mod engines;
pub mod env;
pub mod error;
pub mod ipam;
pub mod kubernetes;
pub mod logging;
pub mod plan;
pub mod result;
pub mod state;
pub mod version;

pub use error::CniError;
