#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test")]

use super::*;
use proptest::prelude::*;

/// Checks the bytes of a request on a little-endian machine, and that reading reverses writing.
#[track_caller]
fn check_vector(message: &Message, fds: usize, expected: &[u8]) {
    let bytes = message.encode(false);
    if cfg!(target_endian = "little") {
        assert_eq!(bytes, expected, "{message:?}");
    }
    let (header, payload) = bytes.split_first_chunk().unwrap();
    let header = Header::decode(header).unwrap();
    assert_eq!((header.request, header.reply), (message.request() as u32, false));
    assert_eq!(header.size as usize, payload.len());
    assert_eq!(Message::decode(message.request(), payload).as_ref(), Ok(message));
    assert_eq!(message.fd_count(), fds..=fds);
}

/// A header of version 1, and the payload.
fn request(number: u8, payload: &[u8]) -> Vec<u8> {
    let size = u8::try_from(payload.len()).unwrap();
    [&[number, 0, 0, 0, 1, 0, 0, 0, size, 0, 0, 0], payload].concat()
}

#[test]
fn vectors_without_a_payload() {
    for (plain, number, fds) in [
        (Request::GetFeatures, 1, 0),
        (Request::SetOwner, 3, 0),
        (Request::ResetOwner, 4, 0),
        (Request::SetLogFd, 7, 1),
        (Request::GetProtocolFeatures, 15, 0),
        (Request::GetQueueNum, 17, 0),
        (Request::SetBackendReqFd, 21, 1),
        (Request::ResetDevice, 34, 0),
        (Request::GetMaxMemSlots, 36, 0),
        (Request::GetStatus, 40, 0),
        (Request::CheckDeviceState, 43, 0),
    ] {
        check_vector(&Message::Plain(plain), fds, &request(number, &[]));
    }
}

#[test]
fn vectors_of_numbers() {
    for (kind, number) in [
        (Request::SetFeatures, 2),
        (Request::SetProtocolFeatures, 16),
        (Request::NetSetMtu, 20),
        (Request::SetStatus, 39),
    ] {
        let message = Message::Number(kind, 0x0102_0304_0506_0708);
        check_vector(&message, 0, &request(number, &[8, 7, 6, 5, 4, 3, 2, 1]));
    }
    let rarp = Message::Rarp([0x52, 0x54, 0, 1, 2, 3]);
    check_vector(&rarp, 0, &request(19, b"\x52\x54\0\x01\x02\x03\0\0"));
}

#[test]
fn vectors_of_ring_states() {
    for (kind, number) in [
        (Request::SetVringNum, 8),
        (Request::SetVringBase, 10),
        (Request::GetVringBase, 11),
        (Request::SetVringEnable, 18),
    ] {
        let message = Message::VringState(kind, VringState { index: 1, value: 0x8000_0100 });
        check_vector(&message, 0, &request(number, &[1, 0, 0, 0, 0, 1, 0, 0x80]));
    }
}

#[test]
fn vectors_of_doorbells() {
    for (kind, number) in
        [(Request::SetVringKick, 12), (Request::SetVringCall, 13), (Request::SetVringErr, 14)]
    {
        let message = Message::VringFd(kind, VringFd { index: 255, no_fd: false });
        check_vector(&message, 1, &request(number, &[255, 0, 0, 0, 0, 0, 0, 0]));
        let message = Message::VringFd(kind, VringFd { index: 2, no_fd: true });
        check_vector(&message, 0, &request(number, &[2, 1, 0, 0, 0, 0, 0, 0]));
    }
}

#[test]
fn vector_of_ring_addresses() {
    let message = Message::VringAddress(VringAddress {
        index: 3,
        log: true,
        descriptor_area: 0x7F01,
        device_area: 0x7F02,
        driver_area: 0x7F03,
        log_address: 0x7F04,
    });
    let payload = b"\x03\0\0\0\x01\0\0\0\x01\x7F\0\0\0\0\0\0\x02\x7F\0\0\0\0\0\0\
        \x03\x7F\0\0\0\0\0\0\x04\x7F\0\0\0\0\0\0";
    check_vector(&message, 0, &request(9, payload));
}

fn region(first: u64) -> MemoryRegion {
    MemoryRegion {
        guest_address: first,
        size: first + 1,
        user_address: first + 2,
        mmap_offset: first + 3,
    }
}

#[test]
fn vectors_of_memory() {
    let one = b"\x10\0\0\0\0\0\0\0\x11\0\0\0\0\0\0\0\x12\0\0\0\0\0\0\0\x13\0\0\0\0\0\0\0";
    let two = b"\x20\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\0\x22\0\0\0\0\0\0\0\x23\0\0\0\0\0\0\0";
    let table = [&b"\x02\0\0\0\0\0\0\0"[..], one, two].concat();
    check_vector(&Message::MemTable(vec![region(16), region(32)]), 2, &request(5, &table));
    let padded = [&[0; 8][..], one].concat();
    let add = Message::MemRegion(Request::AddMemReg, region(16));
    check_vector(&add, 1, &request(37, &padded));
    let remove = Message::MemRegion(Request::RemMemReg, region(16));
    assert_eq!(remove.fd_count(), 0..=1);
    assert_eq!(Message::decode(Request::RemMemReg, &padded), Ok(remove));
}

#[test]
fn vectors_of_log_and_device_state() {
    let log = Message::LogBase(LogArea { size: 0x1000, offset: 0x2000 });
    check_vector(&log, 1, &request(6, b"\0\x10\0\0\0\0\0\0\0\x20\0\0\0\0\0\0"));
    let state = Message::DeviceState(DeviceState { direction: 1, phase: 0 });
    check_vector(&state, 1, &request(42, &[1, 0, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn vectors_of_configuration() {
    let span = ConfigSpan { offset: 6, size: 2, flags: 1 };
    let head = [6, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
    check_vector(&Message::GetConfig(span), 0, &request(24, &[&head[..], &[0, 0]].concat()));
    let set = Message::SetConfig(span, vec![7, 9]);
    check_vector(&set, 0, &request(25, &[&head[..], &[7, 9]].concat()));
    let reply = Reply::Config(span, vec![7, 9]).encode(24);
    assert_eq!(reply[..12], [24, 0, 0, 0, 5, 0, 0, 0, 14, 0, 0, 0]);
    assert_eq!(reply[12..], [&head[..], &[7, 9]].concat());
}

#[test]
fn vectors_of_inflight_memory_with_and_without_padding() {
    let payload = b"\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\x01\0\0\0\0";
    let inflight =
        |padded| Inflight { mmap_size: 4096, mmap_offset: 0, queues: 2, queue_size: 256, padded };
    for (padded, len) in [(true, 24), (false, 20)] {
        let get = Message::Inflight(Request::GetInflightFd, inflight(padded));
        check_vector(&get, 0, &request(31, &payload[..len]));
        let set = Message::Inflight(Request::SetInflightFd, inflight(padded));
        check_vector(&set, 1, &request(32, &payload[..len]));
        assert_eq!(Reply::Inflight(inflight(padded)).encode(31)[12..], payload[..len]);
    }
}

#[test]
fn vectors_of_replies() {
    let ack = [18, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Reply::Number(1).encode(18), ack);
    let base = [11, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x80];
    let state = VringState { index: 1, value: 0x8000_0000 };
    assert_eq!(Reply::VringState(state).encode(11), base);
    assert_eq!(Reply::Empty.encode(24), [24, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn vectors_of_the_second_socket() {
    let change = ChannelMessage::ConfigChange.encode(true);
    assert_eq!(change, [2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    let broken = ChannelMessage::VringErr { index: 3 }.encode(false);
    assert_eq!(broken, request(5, &[3, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(ChannelMessage::VringCall { index: 3 }.encode(false)[..4], [4, 0, 0, 0]);
    let ring = VringFd { index: 1, no_fd: true };
    let notifier = ChannelMessage::VringHostNotifier { ring, size: 4096, offset: 1 };
    let payload = b"\x01\x01\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
    assert_eq!(notifier.encode(false), request(3, payload));
    assert_eq!(decode_channel_ack(&Reply::Number(0).encode(2)), Ok(Some((2, true))));
    assert_eq!(decode_channel_ack(&Reply::Number(9).encode(2)), Ok(Some((2, false))));
    assert_eq!(decode_channel_ack(&change), Ok(None));
    assert_eq!(decode_channel_ack(&[2, 0, 0]), Ok(None));
}

#[test]
fn numbers_and_names_of_requests_agree_with_the_specification() {
    let numbers: Vec<_> = Request::ALL.iter().map(|request| *request as u32).collect();
    assert_eq!(numbers, (1..=45).collect::<Vec<_>>());
    for request in Request::ALL {
        assert_eq!(Request::from_wire(*request as u32), Some(*request));
    }
    assert_eq!((Request::from_wire(0), Request::from_wire(46)), (None, None));
    assert_eq!(Request::SetMemTable.to_string(), "SET_MEM_TABLE");
    assert_eq!(ProtocolFeatures::ALL.bits(), 0b1001_1011_0110_0011_1111);
}

#[test]
fn every_other_payload_length_is_refused() {
    for request in Request::ALL {
        let lens = (0..300).filter(|len| {
            let mut payload = vec![0; *len];
            if let Some(first) = payload.first_mut() {
                *first = 1;
            }
            Message::decode(*request, &payload).is_ok()
        });
        let lens: Vec<usize> = lens.collect();
        let right: &[usize] = match request {
            Request::SetMemTable => &[40],
            Request::AddMemReg | Request::RemMemReg | Request::SetVringAddr => &[40],
            Request::GetInflightFd | Request::SetInflightFd => &[20, 24],
            Request::SetLogBase => &[16],
            // All sizes are zero in these payloads, which is no part of a configuration.
            Request::GetConfig | Request::SetConfig => &[],
            _ if lens.len() == 300 => continue,
            _ if lens == [0] => continue,
            _ => &[8],
        };
        assert_eq!(lens, right, "{request}");
    }
}

#[test]
fn part_of_a_configuration_stays_within_256_bytes() {
    for (offset, size) in [(0, 0), (0, 257), (256, 1), (255, 2), (u32::MAX, 1), (1, u32::MAX)] {
        let words = [offset, size, 0u32].map(u32::to_ne_bytes).concat();
        let expected = WireError::ConfigSpan { offset, size, limit: 256 };
        assert_eq!(Message::decode(Request::GetConfig, &words), Err(expected));
    }
    let span = ConfigSpan { offset: 0, size: 256, flags: 0 };
    let bytes = Message::GetConfig(span).encode(false);
    assert_eq!(Message::decode(Request::GetConfig, &bytes[12..]), Ok(Message::GetConfig(span)));
}

#[test]
fn reserved_bits_of_a_doorbell_and_of_address_flags_are_refused() {
    for bits in [1 << 9, 1 << 16, 1 << 63, 0xFFFF_FFFF_FFFF_FE00] {
        let request = Request::SetVringKick;
        let word = (bits | 1u64).to_ne_bytes();
        let expected = WireError::Reserved { request, bits };
        assert_eq!(Message::decode(request, &word), Err(expected));
    }
    let mut payload = [0; 40];
    payload[4..8].copy_from_slice(&3u32.to_ne_bytes());
    let request = Request::SetVringAddr;
    let expected = WireError::Reserved { request, bits: 2 };
    assert_eq!(Message::decode(request, &payload), Err(expected));
}

proptest! {
    #[test]
    fn decode_takes_any_bytes(
        number in 0u32..48,
        header in any::<[u8; HEADER_LEN]>(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Header::decode(&header);
        let _ = decode_channel_ack(&payload);
        if let Some(request) = Request::from_wire(number)
            && let Ok(message) = Message::decode(request, &payload)
        {
            prop_assert_eq!(message.request(), request);
            let again = message.encode(true);
            if !matches!(message, Message::Other(_)) {
                prop_assert_eq!(Message::decode(request, &again[HEADER_LEN..]), Ok(message));
            }
        }
    }
}

#[test]
fn reading_a_reply_reverses_writing_it() {
    let span = ConfigSpan { offset: 0, size: 3, flags: 0 };
    let inflight =
        Inflight { mmap_size: 1, mmap_offset: 2, queues: 3, queue_size: 4, padded: true };
    for (request, reply) in [
        (Request::GetFeatures, Reply::Number(u64::MAX)),
        (Request::SetVringKick, Reply::Number(1)),
        (Request::GetVringBase, Reply::VringState(VringState { index: 2, value: 0x8000_8000 })),
        (Request::GetConfig, Reply::Config(span, vec![1, 2, 3])),
        (Request::GetConfig, Reply::Empty),
        (Request::GetInflightFd, Reply::Inflight(inflight)),
        (Request::GetInflightFd, Reply::Inflight(Inflight { padded: false, ..inflight })),
    ] {
        let bytes = reply.encode(request as u32);
        let (header, payload) = bytes.split_first_chunk().unwrap();
        let header = Header::decode(header).unwrap();
        assert_eq!((header.request, header.reply), (request as u32, true));
        assert_eq!(Reply::decode(request, payload), Ok(reply));
        let mut longer = payload.to_vec();
        longer.push(0);
        assert!(matches!(Reply::decode(request, &longer), Err(WireError::Length { .. })));
    }
}
