//! A fake device, which is our own virtio device on the memory that it is told of, and a relay in a
//! thread of its own; and a front-end that says what it likes.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses a part")]
#![allow(clippy::print_stdout, reason = "says how far it is")]

mod drive;
mod fake;
mod front;
#[path = "../../../vhost-user/tests/support/kinds.rs"]
mod kinds;
#[path = "../../../vhost-user/tests/support/messages.rs"]
mod messages;
#[path = "../../../vhost-user/tests/device_support/raw.rs"]
mod raw;
mod scene;
mod served;

pub use drive::{drive, drive_at, exchange, exchange_on, link_up};
pub use fake::{Fake, FakeConfig, Handle, Told};
pub use front::{FRONT_END, Front, LEN, READY, SIZE, address, memory, region};
pub use kinds::kinds;
pub use messages::every_message;
pub use raw::{Answer, Raw};
pub use scene::{Scene, scene, served_next};
pub use served::{PATIENCE, Place, Served, eventually};
