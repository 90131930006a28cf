//! How the tools read what peers send.

pub use crate::dump::{Filter, Headers, Side, json, text};
pub use crate::pktgen::{Flows, Found, Frame, Head, Path, Read, Reader, Shape, len_min};
pub use crate::station::{Echo, Heard, Station};
pub use crate::values::Mac;
