//! Answers of the data side: barriers, failures, deadlines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{Event, Failed};
use ringport_vhost_user::wire::{Message, Request};
use std::time::Duration;
use support::{FrontEnd, TIMEOUT, region, state};

fn number(request: Request, number: u64) -> Message {
    Message::Number(request, number)
}

#[test]
fn ack_is_a_barrier_nothing_is_read_before_the_data_side_answers() {
    let mut peer = FrontEnd::running();
    let event = peer.say(&state(Request::SetVringEnable, 0, 0)).unwrap();
    assert!(matches!(event, Some(Event::RingEnabled { index: 0, enabled: false })));
    assert_eq!(peer.machine.wanted(), 0);
    peer.silent();
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.machine.wanted(), 12);
    assert_eq!(peer.heard_number(Request::SetVringEnable), 0);
}

#[test]
fn barrier_without_reply_ack_is_the_reply_to_the_next_request() {
    let mut peer = FrontEnd::running();
    peer.need_reply = false;
    assert!(peer.say(&state(Request::SetVringEnable, 0, 0)).unwrap().is_some());
    assert_eq!(peer.machine.wanted(), 0);
    peer.machine.answer_ack(Ok(())).unwrap();
    peer.say(&Message::Plain(Request::GetFeatures)).unwrap();
    peer.heard(Request::GetFeatures);
}

#[test]
fn overdue_answer_ends_the_conversation() {
    let mut peer = FrontEnd::running();
    assert_eq!(peer.machine.deadline(), None);
    peer.say(&state(Request::SetVringEnable, 0, 0)).unwrap();
    let deadline = peer.machine.deadline().unwrap();
    peer.machine.on_deadline(deadline - Duration::from_millis(1)).unwrap();
    let error = peer.machine.on_deadline(deadline).unwrap_err();
    let request = Request::SetVringEnable;
    assert_eq!(error, ControlError::Timeout { request, waited: TIMEOUT });
    peer.ended();
    assert!(peer.machine.answer_ack(Ok(())).is_err());
}

#[test]
fn failure_of_the_data_side_is_told_or_ends_the_conversation() {
    let table = Message::MemTable(vec![region(0)]);
    let mut peer = FrontEnd::acked();
    peer.say(&table).unwrap();
    peer.machine.answer_ack(Err(Failed)).unwrap();
    assert_ne!(peer.heard_number(Request::SetMemTable), 0);
    peer.need_reply = false;
    peer.say(&table).unwrap();
    let error = peer.machine.answer_ack(Err(Failed)).unwrap_err();
    assert_eq!(error, ControlError::Failed { request: Request::SetMemTable });
    peer.ended();
}

#[test]
fn failure_of_what_a_link_can_do_without_is_passed_over() {
    let mut peer = FrontEnd::acked();
    peer.need_reply = false;
    for message in [Message::Rarp([2, 0, 0, 0, 0, 1]), number(Request::NetSetMtu, 9000)] {
        assert!(peer.say(&message).unwrap().is_some());
        peer.machine.answer_ack(Err(Failed)).unwrap();
        peer.silent();
    }
    peer.still_answers();
}

#[test]
fn answers_without_a_question_change_nothing() {
    let mut peer = FrontEnd::running();
    let out = |call| Err(ControlError::OutOfOrder { call });
    assert_eq!(peer.machine.answer_ack(Ok(())), out("answer_ack"));
    peer.say(&state(Request::GetVringBase, 0, 0)).unwrap();
    assert_eq!(peer.machine.answer_ack(Ok(())), out("answer_ack"));
    assert_eq!(peer.machine.answer_config(Err(Failed)), out("answer_config"));
    assert_eq!(peer.machine.wanted(), 0);
}
