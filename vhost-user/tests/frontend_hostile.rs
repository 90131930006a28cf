//! Back-ends that answer wrongly, at every point of the conversation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod frontend_support;

use frontend_support::{Both, back_config, front_config, offer};
use ringport_vhost_user::ControlError;
use ringport_vhost_user::frontend::{Event, PeerIncompatible, PeerMisbehaved};
use ringport_vhost_user::wire::{ProtocolFeatures, Reply, Request, VringState};
use std::time::Instant;

/// Runs a conversation to the end of its last phase, or to where it fails.
fn play(
    both: &mut Both,
    mut change: impl FnMut(usize, Vec<u8>) -> (Vec<u8>, usize),
) -> Result<(), ControlError> {
    while let Some(event) = both.run_with(&mut change)? {
        match event {
            Event::Negotiated(agreed) => both.front.offer(offer(&agreed), Instant::now())?,
            Event::Running => both.front.stop(Instant::now())?,
            _ => return Ok(()),
        }
    }
    panic!("the conversation stops in the middle");
}

fn config_with(acks: bool) -> ringport_vhost_user::backend::BackendConfig {
    let mut back = back_config();
    if !acks {
        back.protocol_features = back.protocol_features.without(ProtocolFeatures::REPLY_ACK);
    }
    back
}

/// Changes one reply at a time, each of them once; `why` has to agree with what comes of it.
#[track_caller]
fn at_every_reply(change: impl Fn(&mut Vec<u8>) -> usize, why: impl Fn(ControlError) -> bool) {
    for acks in [false, true] {
        let mut honest = Both::new(front_config(), config_with(acks));
        play(&mut honest, |_, reply| (reply, 0)).unwrap();
        assert!(honest.replies >= 10);
        for at in 0..honest.replies {
            let mut both = Both::new(front_config(), config_with(acks));
            let error = play(&mut both, |number, mut reply| {
                let fds = if number == at { change(&mut reply) } else { 0 };
                (reply, fds)
            })
            .expect_err("it went on");
            assert!(why(error), "reply {at}: {error}");
            assert!(both.front.is_closed());
            assert!(both.front.take_outgoing().is_none());
            assert_eq!((both.front.wanted(), both.front.deadline()), (0, None));
        }
    }
}

use ControlError::PeerMisbehaved as Misbehaved;

#[test]
fn reply_to_another_request_ends_the_conversation() {
    let change = |reply: &mut Vec<u8>| {
        reply[0] ^= 0x20;
        0
    };
    at_every_reply(change, |error| matches!(error, Misbehaved(PeerMisbehaved::Unasked { .. })));
}

#[test]
fn request_where_a_reply_belongs_ends_the_conversation() {
    let change = |reply: &mut Vec<u8>| {
        reply[4] = 1;
        0
    };
    at_every_reply(change, |error| matches!(error, Misbehaved(PeerMisbehaved::Request { .. })));
}

#[test]
fn reply_that_wants_an_answer_ends_the_conversation() {
    let change = |reply: &mut Vec<u8>| {
        reply[4] |= 8;
        0
    };
    at_every_reply(change, |error| matches!(error, Misbehaved(PeerMisbehaved::ReplyFlags { .. })));
}

#[test]
fn reply_of_another_version_or_with_unknown_flags_ends_the_conversation() {
    for (byte, value) in [(4, 6), (4, 4), (4, 0x15), (7, 0x80)] {
        let change = |reply: &mut Vec<u8>| {
            reply[byte] = value;
            0
        };
        at_every_reply(change, |error| matches!(error, Misbehaved(PeerMisbehaved::BadFrame(_))));
    }
}

#[test]
fn reply_of_another_length_ends_the_conversation() {
    for len in [1, 4, 7, 9, 12, 13, 16, 40, 4096] {
        let change = |reply: &mut Vec<u8>| {
            reply.truncate(8);
            reply.extend(u32::to_ne_bytes(len));
            reply.resize(12 + len as usize, 0);
            0
        };
        at_every_reply(change, |error| matches!(error, Misbehaved(PeerMisbehaved::BadPayload(_))));
    }
    let change = |reply: &mut Vec<u8>| {
        reply.truncate(8);
        reply.extend(u32::to_ne_bytes(4097));
        0
    };
    at_every_reply(change, |error| matches!(error, Misbehaved(PeerMisbehaved::BadFrame(_))));
}

#[test]
fn descriptors_in_a_reply_end_the_conversation() {
    for fds in [1, 3] {
        at_every_reply(
            |_| fds,
            |error| matches!(error, Misbehaved(PeerMisbehaved::FdCount { got, max: 0, .. }) if got == fds),
        );
    }
}

#[test]
fn refusal_of_any_request_that_asks_for_an_answer_names_it() {
    let mut honest = Both::new(front_config(), back_config());
    play(&mut honest, |_, reply| (reply, 0)).unwrap();
    let acks: Vec<_> = honest.said.iter().filter(|(_, ack)| *ack).map(|(r, _)| *r).collect();
    assert!(acks.len() > 20);
    for (at, wanted) in acks.iter().enumerate() {
        let mut both = Both::new(front_config(), back_config());
        let mut seen = 0;
        let error = play(&mut both, |_, reply| {
            let number = u32::from_ne_bytes(*reply.first_chunk().unwrap());
            let is_ack = !Request::from_wire(number).unwrap().to_string().starts_with("GET_");
            seen += usize::from(is_ack);
            let refuses = is_ack && seen == at + 1;
            (if refuses { Reply::Number(77).encode(number) } else { reply }, 0)
        });
        assert_eq!(error, Err(ControlError::Refused { request: *wanted, code: 77 }));
    }
}

#[test]
fn base_of_another_ring_ends_the_conversation() {
    let mut both = Both::new(front_config(), back_config());
    let error = play(&mut both, |_, reply| {
        let number = Request::GetVringBase as u32;
        if reply[..4] != number.to_ne_bytes() {
            return (reply, 0);
        }
        (Reply::VringState(VringState { index: 3, value: 0 }).encode(number), 0)
    });
    let request = Request::GetVringBase;
    assert_eq!(error, Err(PeerMisbehaved::OtherReply { request }.into()));
}

/// Replaces the reply to one request.
fn answers(request: Request, with: Reply) -> Result<(), ControlError> {
    let mut both = Both::new(front_config(), back_config());
    play(&mut both, |_, reply| {
        let number = request as u32;
        let hit = reply[..4] == number.to_ne_bytes();
        (if hit { with.encode(number) } else { reply }, 0)
    })
}

#[test]
fn numbers_that_cannot_be_end_the_conversation() {
    let none = PeerMisbehaved::Value { request: Request::GetQueueNum, value: 0 };
    assert_eq!(answers(Request::GetQueueNum, Reply::Number(0)), Err(none.into()));
    let error = answers(Request::GetStatus, Reply::Number(3)).unwrap_err();
    let not_accepted = PeerIncompatible::FeaturesNotAccepted { bits: 0 };
    let ControlError::PeerIncompatible(why) = error else { panic!("{error}") };
    assert_eq!(std::mem::discriminant(&why), std::mem::discriminant(&not_accepted));
}

#[test]
fn numbers_beyond_all_limits_are_taken_as_what_we_have() {
    assert_eq!(answers(Request::GetQueueNum, Reply::Number(u64::MAX)), Ok(()));
    assert_eq!(answers(Request::GetFeatures, Reply::Number(u64::MAX)), Ok(()));
}

#[test]
fn configuration_that_was_not_asked_for_ends_the_conversation_and_none_does_not() {
    use ringport_vhost_user::wire::ConfigSpan;
    let request = Request::GetConfig;
    let other = Reply::Config(ConfigSpan { offset: 4, size: 12, flags: 0 }, vec![0; 12]);
    assert_eq!(answers(request, other), Err(PeerMisbehaved::OtherReply { request }.into()));
    assert_eq!(answers(request, Reply::Empty), Ok(()));
    let nonsense = Reply::Config(ConfigSpan { offset: 0, size: 12, flags: 0 }, vec![1; 12]);
    assert_eq!(answers(request, nonsense), Ok(()));
}

#[test]
fn anything_said_unasked_ends_the_conversation() {
    let unasked = PeerMisbehaved::Unasked { request: 1 };
    let reply = Reply::Number(0).encode(1);
    let mut both = Both::new(front_config(), back_config());
    assert_eq!(both.reply(&reply, 0), Err(unasked.into()), "before the first request");
    let mut both = Both::new(front_config(), back_config());
    both.negotiated();
    assert_eq!(both.reply(&reply, 0), Err(unasked.into()), "while we think");
    let mut both = Both::new(front_config(), back_config());
    both.running();
    assert_eq!(both.reply(&reply, 0), Err(unasked.into()), "while rings run");
    assert_eq!(both.reply(&reply, 0), Ok(None), "after the end nothing matters");
}
