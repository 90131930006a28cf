//! From a configuration back to a port string.

use super::SCHEME;
use super::common::Common;
use super::values::{BACKINGS, CALL_MODES, KICK_MODES, SIDES, SWITCH};
use crate::device::{DeviceConfig, SocketRole};
use crate::driver::DriverConfig;
use crate::port::{PortConfig, RoleConfig};
use ringport::port_string::ItemWriter;
use ringport::retry::Reconnect;
use std::fmt::{self, Display};

/// The port string; settings at their default are left out.
impl Display for PortConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match &self.role {
            RoleConfig::Device(_) => "device",
            RoleConfig::Driver(_) => "driver",
        };
        write!(f, "{SCHEME}{},role={role}", self.address)?;
        let mut items = ItemWriter(f);
        match &self.socket {
            SocketRole::Listen(options) => items.socket(options)?,
            SocketRole::Connect(reconnect) => {
                items.word("socket", &false, &true, &SIDES)?;
                items.reconnect(*reconnect, Reconnect::default())?;
            }
        }
        match &self.role {
            RoleConfig::Device(device) => show_device(&mut items, *device),
            RoleConfig::Driver(driver) => show_driver(&mut items, *driver),
        }
    }
}

fn show_device(items: &mut ItemWriter<'_, '_>, mut device: DeviceConfig) -> fmt::Result {
    let mut usual = DeviceConfig::default();
    Common::of_device(&mut device).show(items, &Common::of_device(&mut usual))?;
    items.word("rx-mode", &device.kicks, &usual.kicks, &KICK_MODES)?;
    items.word("indirect", &device.indirect, &usual.indirect, &SWITCH)?;
    if let Some([a, b, c, d, e, f]) = device.mac {
        write!(items.0, ",mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")?;
    }
    items.item("regions", &device.limits.regions, &usual.limits.regions)
}

fn show_driver(items: &mut ItemWriter<'_, '_>, mut driver: DriverConfig) -> fmt::Result {
    let mut usual = DriverConfig::default();
    Common::of_driver(&mut driver).show(items, &Common::of_driver(&mut usual))?;
    items.word("rx-mode", &driver.calls, &usual.calls, &CALL_MODES)?;
    items.item("buffer-size", &driver.buffer_size, &usual.buffer_size)?;
    items.word("memory", &driver.backing, &usual.backing, &BACKINGS)?;
    items.word("keep-features", &driver.keep_features, &usual.keep_features, &SWITCH)
}
