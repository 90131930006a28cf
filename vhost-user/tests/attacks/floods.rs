//! Every message that may be said again and again, as fast as it is taken.

use super::{Attack, Field};
use crate::device_support::{FEATURES, Front};
use ringport_vhost_user::wire::{
    ConfigSpan, Message, ProtocolFeatures, Request, VringFd, VringState,
};

pub fn floods() -> impl Iterator<Item = Attack> {
    messages().into_iter().flat_map(|message| {
        [false, true].map(|wants_answer| {
            let message = message.clone();
            let answered = if wants_answer { ", each to be answered" } else { "" };
            let name = format!("{} without end{answered}", message.request());
            Attack::new(&name, move |field| flood(field, &message, wants_answer))
        })
    })
}

fn flood(field: &Field<'_>, message: &Message, wants_answer: bool) {
    while field.goes_on() {
        // The answers are not read; the device may have had enough at some time.
        let front = Front::running(field.place, 1);
        front.raw.flood(&message.encode(wants_answer).repeat(100), field.stop);
    }
}

/// Of each request that needs no descriptor one that does nothing, or is refused.
fn messages() -> Vec<Message> {
    use Request as R;
    let state = |request, value| Message::VringState(request, VringState { index: 0, value });
    let no_fd = |request| Message::VringFd(request, VringFd { index: 0, no_fd: true });
    let plain = [
        R::GetFeatures,
        R::SetOwner,
        R::GetProtocolFeatures,
        R::GetQueueNum,
        R::GetMaxMemSlots,
        R::GetStatus,
        R::PostcopyListen,
    ];
    let mut all: Vec<_> = plain.into_iter().map(Message::Plain).collect();
    let span = ConfigSpan { offset: 0, size: 64, flags: 0 };
    all.extend([
        Message::Number(R::SetFeatures, FEATURES),
        Message::Number(R::SetProtocolFeatures, ProtocolFeatures::NONE.bits()),
        Message::Number(R::NetSetMtu, 1500),
        Message::Number(R::SetStatus, 15),
        state(R::SetVringNum, 64),
        state(R::SetVringBase, 0),
        state(R::GetVringBase, 0),
        state(R::SetVringEnable, 1),
        no_fd(R::SetVringCall),
        no_fd(R::SetVringErr),
        Message::Rarp([2, 0, 0, 0, 0, 1]),
        Message::GetConfig(span),
    ]);
    all
}
