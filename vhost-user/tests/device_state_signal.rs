//! A device in a process that dies of SIGPIPE, as programs in C do by default: a front-end whose pipe is
//! closed does not end it. Alone in its program, for the whole process is changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![expect(unsafe_code, reason = "what a signal does")]

mod device_support;

use device_support::{FEATURES, Front, Place, Served};
use nix::sys::signal::{SigHandler, Signal, signal};
use ringport_vhost_user::device::state::StateError;
use ringport_vhost_user::wire::{DeviceState, Message, Request};
use ringport_vhost_user::{DeviceConfig, DeviceError, Event};
use std::io::pipe;
use std::os::fd::AsFd;

#[test]
fn pipe_whose_other_end_is_gone_does_not_end_the_process() {
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.unwrap();
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let front = Front::connect_with(&place, 2, FEATURES);
    front.share();
    for _ in 0..3 {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let save = Message::DeviceState(DeviceState { direction: 0, phase: 0 });
        front.raw.ask(&save, &[writer.as_fd()]);
        assert_eq!(front.raw.ask(&Message::Plain(Request::CheckDeviceState), &[]).number(), 1);
        let event = device.news();
        let broken =
            matches!(event, Event::RequestRefused(DeviceError::State(StateError::Pipe(_))));
        assert!(broken, "{event:?}");
    }
}
