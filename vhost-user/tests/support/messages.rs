//! What a front-end may say.

use super::{address, region};
use ringport_vhost_user::wire::{ConfigSpan, DeviceState, Inflight, LogArea, Message, Request};

pub const INFLIGHT: Inflight =
    Inflight { mmap_size: 4096, mmap_offset: 0, queues: 4, queue_size: 256, padded: true };

/// One message of every request that is served.
pub fn every_message() -> Vec<Message> {
    let span = ConfigSpan { offset: 0, size: 6, flags: 0 };
    let mut all = vec![
        Message::MemTable(vec![region(0), region(1)]),
        Message::VringAddress(address(0)),
        Message::LogBase(LogArea { size: 64, offset: 0 }),
        Message::Rarp([0; 6]),
        Message::GetConfig(span),
        Message::SetConfig(span, vec![0; 6]),
        Message::DeviceState(DeviceState { direction: 0, phase: 0 }),
    ];
    for request in Request::ALL.iter().copied() {
        let short = |len| Message::decode(request, &vec![0; len]);
        all.extend([short(0), short(8), short(40)].into_iter().flatten().filter(|message| {
            !matches!(message, Message::Other(_) | Message::VringAddress(_) | Message::Rarp(_))
                && !matches!(message, Message::DeviceState(_))
        }));
    }
    all.push(Message::Inflight(Request::GetInflightFd, INFLIGHT));
    all.push(Message::Inflight(Request::SetInflightFd, INFLIGHT));
    all
}
