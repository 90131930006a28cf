//! The front-end's side: a driver that owns rings and packet buffers, and lends them to a device.

pub mod queue;
