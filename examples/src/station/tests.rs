use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn station(last: u8, mac: Mac) -> Station {
    let addresses = [format!("10.0.0.{last}"), format!("fd00::{last}")];
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Station { mac, addresses, ethernet: true }
}

/// We are 1, the peer is 2.
fn pair() -> [Station; 2] {
    [station(1, MAC), station(2, THEIRS)]
}

const DATA: &[u8] = b"not a multiple of two";

fn echo<'a>(data: &'a [u8]) -> Echo<'a> {
    Echo { ident: 7, number: 9, data }
}

/// A question of every kind from the peer to us, as v4 and as v6.
fn questions(ours: &Station, theirs: &Station) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (from, to) in theirs.addresses.iter().zip(&ours.addresses) {
        let mut packet = Vec::new();
        if ours.ethernet {
            theirs.write_who_has(*from, *to, &mut packet);
            all.push(packet.clone());
        }
        theirs.write_echo(Some(MAC), (*from, *to), echo(DATA), &mut packet);
        all.push(packet);
    }
    all
}

#[test]
fn every_question_is_answered_and_the_answer_understood() {
    for ethernet in [true, false] {
        let [mut ours, mut theirs] = pair();
        (ours.ethernet, theirs.ethernet) = (ethernet, ethernet);
        let (mut answer, mut none, mut heard) = (Vec::new(), Vec::new(), Vec::new());
        for question in questions(&ours, &theirs) {
            assert_eq!(ours.hear(&question, &mut answer), Heard::Question);
            heard.push(match theirs.hear(&answer, &mut none) {
                Heard::Neighbour { address, mac } if mac == MAC => (address, 0),
                Heard::Reply { from, echo: reply } if reply == echo(DATA) => (from, DATA.len()),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(heard.len(), if ethernet { 4 } else { 2 });
        assert!(heard.iter().all(|(from, _)| ours.addresses.contains(from)), "{heard:?}");
        assert!(none.is_empty());
    }
}

#[test]
fn what_is_cut_off_anywhere_is_not_answered() {
    let [ours, theirs] = pair();
    let mut answer = Vec::new();
    for question in questions(&ours, &theirs) {
        // Short ones are padded, and padding may be missing.
        let needed = match question[12..14] {
            [8, 6] => 42,
            [8, 0] => 14 + 28 + DATA.len(),
            _ => question.len(),
        };
        for len in 0..needed {
            assert_eq!(ours.hear(&question[..len], &mut answer), Heard::Nothing, "{len}");
        }
        assert_eq!(ours.hear(&question[..needed], &mut answer), Heard::Question);
    }
}

#[test]
fn what_is_changed_anywhere_is_not_answered_or_says_nothing_else() {
    let [ours, theirs] = pair();
    let mut answer = Vec::new();
    for question in questions(&ours, &theirs) {
        let ip = question[12..14] != [8, 6];
        for at in 0..question.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut odd = question.clone();
                odd[at] ^= flip;
                let heard = ours.hear(&odd, &mut answer);
                // Addresses of Ethernet, and of IPv6 the traffic class, the flow label and the hop
                // limit of an echo, are in no checksum.
                let covered = if question[12..14] == [8, 0] {
                    (14..14 + 28 + DATA.len()).contains(&at)
                } else {
                    at >= 14 + 8 || at == 14 + 6
                };
                if ip && covered {
                    assert_eq!(heard, Heard::Nothing, "byte {at} of {question:02x?}");
                }
            }
        }
    }
}

#[test]
fn arp_of_odd_shape_is_not_answered() {
    let [ours, theirs] = pair();
    let mut question = Vec::new();
    theirs.write_who_has(theirs.addresses[0], ours.addresses[0], &mut question);
    let mut answer = Vec::new();
    // Hardware and protocol type, their lengths, the operation, the sender's Ethernet address, the
    // last byte of the target's address.
    for at in [14, 15, 16, 17, 18, 19, 20, 21, 22, 27, 41] {
        for value in [0xff, 7, 0x80] {
            let mut odd = question.clone();
            odd[at] = value;
            assert_eq!(ours.hear(&odd, &mut answer), Heard::Nothing, "byte {at} {value}");
        }
    }
}

#[test]
fn senders_that_are_no_hosts_get_no_answer() {
    let [ours, theirs] = pair();
    let mut answer = Vec::new();
    let group = Mac([3, 0, 0, 0, 0, 1]);
    for question in questions(&ours, &theirs) {
        let mut odd = question.clone();
        odd[6..12].copy_from_slice(&group.0);
        assert_eq!(ours.hear(&odd, &mut answer), Heard::Nothing);
        let mut elsewhere = question.clone();
        elsewhere[..6].copy_from_slice(&THEIRS.0);
        assert_eq!(ours.hear(&elsewhere, &mut answer), Heard::Nothing);
        elsewhere[..6].fill(0);
        assert_eq!(ours.hear(&elsewhere, &mut answer), Heard::Nothing, "to nobody");
    }
    for from in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "ff02::1", "::1"] {
        let from: IpAddr = from.parse().unwrap();
        let to = ours.addresses[usize::from(from.is_ipv6())];
        let mut question = Vec::new();
        theirs.write_echo(Some(MAC), (from, to), echo(DATA), &mut question);
        assert_eq!(ours.hear(&question, &mut answer), Heard::Nothing, "{from}");
    }
}

#[test]
fn ipv4_header_that_ends_before_its_fields_do_is_no_question() {
    let [mut ours, _] = pair();
    ours.ethernet = false;
    // Four bytes that add up, so that what follows them would be an echo request.
    let mut packet = vec![0; 0xbe00];
    packet[..10].copy_from_slice(&[0x41, 0xff, 0xbe, 0, 8, 0, 0x40, 0, 64, 1]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    let words = packet[4..].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let rest = u16::try_from(0xffff - words.sum::<u32>() % 0xffff).unwrap();
    packet[20..22].copy_from_slice(&rest.to_be_bytes());
    assert_eq!(ours.hear(&packet, &mut Vec::new()), Heard::Nothing);
}

#[test]
fn neighbour_messages_that_a_router_passed_on_are_not_answered() {
    let [ours, theirs] = pair();
    let (mut question, mut answer) = (Vec::new(), Vec::new());
    theirs.write_who_has(theirs.addresses[1], ours.addresses[1], &mut question);
    assert_eq!(ours.hear(&question, &mut answer), Heard::Question);
    question[14 + 7] = 254;
    assert_eq!(ours.hear(&question, &mut answer), Heard::Nothing);
}

#[test]
fn somebody_without_an_address_hears_that_ours_is_taken() {
    let [ours, theirs] = pair();
    let (mut question, mut answer) = (Vec::new(), Vec::new());
    theirs.write_who_has("::".parse().unwrap(), ours.addresses[1], &mut question);
    assert_eq!(ours.hear(&question, &mut answer), Heard::Question);
    assert_eq!(answer[..6], [0x33, 0x33, 0, 0, 0, 1]);
    theirs.write_who_has("0.0.0.0".parse().unwrap(), ours.addresses[0], &mut question);
    assert_eq!(ours.hear(&question, &mut answer), Heard::Question);
    assert_eq!(answer[..6], THEIRS.0);
}

#[test]
fn random_bytes_are_no_question() {
    let [mut ours, _] = pair();
    let mut answer = Vec::new();
    let mut state = 1_u64;
    for ethernet in [true, false] {
        ours.ethernet = ethernet;
        for round in 0..20_000 {
            let mut packet: Vec<u8> = (0..round % 120)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            // Into the parsers, one after the other.
            let kinds: [&[u8]; 3] = [&[8, 6, 0, 1, 8, 0, 6, 4], &[8, 0, 0x45], &[0x86, 0xdd, 0x60]];
            let kind = kinds[round % 3];
            if let Some(place) = packet.get_mut(12..12 + kind.len()) {
                place.copy_from_slice(kind);
                packet[..6].copy_from_slice(&MAC.0);
            }
            assert_eq!(ours.hear(&packet, &mut answer), Heard::Nothing);
        }
    }
}
