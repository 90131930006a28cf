//! Seeds of the vhost-user targets.

use super::Seed;
use crate::input::Script;
use crate::vhost::say::{
    CHOPPED, FDS_TRUNCATED, LATE_FDS, NEED_REPLY, OWN_FDS, OWN_FLAGS, OWN_LENGTH, OWN_SIZE,
};

/// Says a message; it is done at once.
const SAY: u8 = 15;

const VERSION_1: u8 = 1;
const PACKED: u8 = 2;
const PROTOCOL: u8 = 4;
const LOG_ALL: u8 = 8;

/// A message that is said, and wants an answer.
fn say(message: &[u8]) -> Vec<u8> {
    said(message, &[NEED_REPLY])
}

fn said(message: &[u8], how: &[u8]) -> Vec<u8> {
    [&[SAY][..], message, how].concat()
}

/// All protocol features, and virtio features.
fn agreed(start: &[u8], features: u8) -> Script {
    Script::new(start).add(&say(&[2, 0])).add(&say(&[1, features]))
}

/// Region 0 besides, and these rings.
fn running(start: &[u8], features: u8, rings: &[u8]) -> Script {
    let mut script = agreed(start, features).add(&say(&[12, 0, 0]));
    for &ring in rings {
        let base = if features & PACKED == 0 { 0 } else { 251 };
        for message in [[4, ring, 252], [5, ring, base], [8, ring, 0], [10, ring, 0], [11, ring, 0]]
        {
            script = script.add(&say(&message));
        }
        script = script.add(&say(&[9, ring, 0])).add(&say(&[7, ring, 1]));
    }
    script
}

/// What is said at some stage, with a name for each.
fn odd_messages() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("no-descriptor", said(&[12, 0, 1], &[NEED_REPLY | OWN_FDS, 0])),
        ("five-descriptors", said(&[12, 1, 1, 2], &[NEED_REPLY | OWN_FDS, 5])),
        ("region-is-a-pipe", said(&[12, 0, 1], &[NEED_REPLY | OWN_FDS, 0x41])),
        ("region-too-short", said(&[12, 0, 1], &[NEED_REPLY | OWN_FDS, 0x21])),
        ("kick-is-a-socket", said(&[9, 0, 0], &[NEED_REPLY | OWN_FDS, 0x81])),
        ("kick-is-a-semaphore", said(&[9, 0, 0], &[NEED_REPLY | OWN_FDS, 0x61])),
        ("short-payload", said(&[8, 0, 0], &[NEED_REPLY | OWN_LENGTH, 8])),
        ("version-2", said(&[0, 0], &[OWN_FLAGS, 1])),
        ("reply-to-us", said(&[0, 0], &[OWN_FLAGS, 4])),
        ("endless-payload", said(&[0, 0], &[OWN_SIZE, 1, 0x20])),
        ("swallows-the-next", said(&[0, 0], &[OWN_SIZE, 20, 0])),
        ("byte-by-byte", said(&[12, 7, 1, 2, 3, 4, 5, 6, 7, 8], &[NEED_REPLY | CHOPPED, 0])),
        ("late-descriptors", said(&[12, 0, 1], &[CHOPPED | LATE_FDS, 3])),
        ("descriptors-truncated", said(&[12, 0, 1], &[FDS_TRUNCATED])),
        ("regions-overlap", say(&[12, 1, 1, 1])),
        ("region-wraps", say(&[12, 0, 0xC1, 255, 255, 255, 255, 255, 255, 255, 255])),
        ("region-more", [say(&[13, 0, 2]), say(&[13, 1, 2]), say(&[13, 1, 2])].concat()),
        ("memory-without-rings", say(&[12, 0, 9])),
        ("ring-77", say(&[4, 77, 8])),
        ("size-3", say(&[4, 1, 3])),
        ("size-65536", say(&[4, 1, 253, 1])),
        (
            "base-of-32-bits",
            [say(&[6, 0]), say(&[5, 0, 255, 1, 2, 3, 4]), say(&[9, 0, 0])].concat(),
        ),
        (
            "address-beyond",
            [say(&[6, 0, 0]), say(&[8, 0, 12, 1, 0, 0, 0]), say(&[9, 0, 0])].concat(),
        ),
        ("kick-exchanged", [say(&[9, 0, 0]), say(&[9, 0, 1]), say(&[10, 0, 0])].concat()),
        ("enable-2", say(&[7, 0, 2])),
        ("log", [say(&[14, 0, 16, 0, 0]), say(&[8, 0, 1]), say(&[0, 6])].concat()),
        ("config", [say(&[15, 0, 0, 24, 0]), say(&[15, 1, 0, 6, 0])].concat()),
        ("config-beyond", say(&[15, 0, 250, 24, 0])),
        ("inflight", [say(&[16, 0, 2, 8, 1]), say(&[16, 5, 2, 8, 1])].concat()),
        ("state", [say(&[17, 1, 1, 0]), say(&[0, 42])].concat()),
        ("rarp", say(&[17, 0, 2, 0, 0, 0, 0, 1])),
        ("mtu", [say(&[3, 1, 0xDC, 5]), say(&[3, 1, 1, 0]), say(&[3, 0, 15, 0])].concat()),
        ("reset", [say(&[0, 33]), say(&[0, 3])].concat()),
        ("unknown", [say(&[17, 2, 22]), say(&[17, 2, 44])].concat()),
        ("stopped", [say(&[6, 0, 0]), say(&[6, 0, 0]), say(&[9, 0, 0])].concat()),
    ]
}

/// Offers everything; 2 pairs, rings of 256, 8 regions, 200 ms.
const MACHINE: [u8; 7] = [0xff, VERSION_1, 1, 0, 8, 8, 200];

pub(super) fn messages() -> Vec<Seed> {
    let up = running(&MACHINE, VERSION_1 | PROTOCOL, &[0, 1]);
    let packed = running(&MACHINE, VERSION_1 | PACKED, &[0, 1, 2, 3]);
    let plain: Vec<u8> = (0..45).flat_map(|number| say(&[0, number])).collect();
    // Without answers, until the machine takes no more; then they are read one by one.
    let unread: Vec<u8> = (0..20).flat_map(|_| [8, 0, 0, NEED_REPLY]).chain([0, 0, 0]).collect();
    let mut seeds = vec![
        ("running", up.clone().bytes()),
        ("packed", packed.add(&say(&[6, 2, 0])).bytes()),
        ("each-plain-request", Script::new(&MACHINE).add(&plain).bytes()),
        ("unread", Script::new(&MACHINE).add(&unread).add(&[5, 6]).bytes()),
        ("late", agreed(&MACHINE, VERSION_1).add(&[8, 1, PACKED, 0, 0, 0, 4, 100, 4, 100]).bytes()),
        (
            "failed",
            agreed(&MACHINE, VERSION_1).add(&[8, 12, 0, 0, NEED_REPLY, 0, 0, 0, 2, 6]).bytes(),
        ),
        ("failed-unheard", agreed(&MACHINE, VERSION_1).add(&[8, 12, 0, 0, 0, 0, 0, 0, 2]).bytes()),
        ("out-of-order", up.clone().add(&[3, 0, 0, 3, 1, 0, 3, 2, 0, 3, 3, 0, 3, 4, 0]).bytes()),
        ("overfed", up.clone().add(&[7, 0]).bytes()),
        ("closed", up.clone().add(&[9, 0]).bytes()),
        (
            "noise",
            Script::new(&MACHINE)
                .add(&[0, 12, 1])
                .add(&[1; 12])
                .add(&[0, 63, 3])
                .add(&[9; 63])
                .bytes(),
        ),
        ("log-while-running", up.clone().add(&say(&[1, VERSION_1 | PROTOCOL | LOG_ALL])).bytes()),
        ("features-while-running", up.clone().add(&say(&[1, VERSION_1])).bytes()),
        ("features-not-offered", agreed(&[1, 1, 0, 0, 8, 8, 9], 0xff).bytes()),
    ];
    seeds
        .extend(odd_messages().into_iter().map(|(name, odd)| (name, up.clone().add(&odd).bytes())));
    seeds
}

/// Any features, all of them.
const ALL: [u8; 9] = [0xff; 9];
/// Sends what there is to say, and answers.
const ANSWER: u8 = 9;
/// Answers well until something happens.
const GO_ON: u8 = 8;
/// As many rings as there have to be, with every doorbell.
const OFFER: [u8; 3] = [2, 0, 0];
const STOP: u8 = 3;

/// What a front-end wants: VERSION_1 at least, then these protocol features, so many pairs of rings
/// and one; 200 ms, an MTU.
fn wants(features: &[u8], protocol: &[u8], pairs: u8) -> Script {
    Script::new(features).add(&[VERSION_1]).add(protocol).add(&[pairs, 200, 50])
}

/// Answers that are not what was asked for.
fn odd_answers() -> [(&'static str, Vec<u8>); 13] {
    [
        ("refused", vec![ANSWER, 1, 0]),
        ("with-a-descriptor", vec![ANSWER, 0, OWN_FDS, 1]),
        ("late-descriptors", vec![ANSWER, 0, OWN_FDS | CHOPPED | LATE_FDS, 1, 12]),
        ("descriptors-truncated", vec![ANSWER, 0, FDS_TRUNCATED]),
        ("version-2", vec![ANSWER, 0, OWN_FLAGS, 1]),
        ("wants-an-answer", vec![ANSWER, 0, OWN_FLAGS, 8]),
        ("is-a-request", vec![ANSWER, 0, OWN_FLAGS, 0xfc]),
        ("short", vec![ANSWER, 0, OWN_LENGTH, 4]),
        ("long", vec![ANSWER, 0, OWN_LENGTH, 16]),
        ("endless", vec![ANSWER, 0, OWN_SIZE, 1, 0x20]),
        ("byte-by-byte", vec![ANSWER, 0, CHOPPED, 0]),
        ("to-another-request", vec![1, 7, 39, 0, 0]),
        ("noise", vec![0, 12, 1, 1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0]),
    ]
}

pub(super) fn frontend() -> Vec<Seed> {
    let start = wants(&ALL, &[0], 1);
    let offered = start.clone().add(&[GO_ON]).add(&OFFER);
    let running = offered.clone().add(&[GO_ON]);
    let life = |wants: Script| {
        let script = wants.add(&[GO_ON]).add(&OFFER).add(&[GO_ON, STOP, GO_ON, 1]);
        script.bytes()
    };
    let none = [&[0xff][..], &[0; 8]].concat();
    let asked = |answers: &[&[u8]]| {
        let features = [&[ANSWER][..], &ALL, &[0]].concat();
        start.clone().add(&features).add(&[ANSWER, 0, 0]).add(&answers.concat()).bytes()
    };
    let mut seeds = vec![
        ("life", life(start.clone())),
        ("life-without-acknowledgements", life(wants(&ALL, &[1 | 4 | 8], 0))),
        ("life-without-protocol-features", life(wants(&[VERSION_1], &none, 0))),
        ("life-of-128-pairs", life(wants(&ALL, &[0], 127))),
        ("required-are-missing", start.clone().add(&[ANSWER, 2, 0]).bytes()),
        ("address-required", {
            let wants = Script::new(&[9]).add(&[9, 2, 0, 200, 0]);
            wants.add(&[GO_ON]).bytes()
        }),
        ("no-pairs", asked(&[&[ANSWER, 0, 0]])),
        ("pairs-of-64-bits", asked(&[&[ANSWER, 255, 1, 0, 0, 0, 1, 0, 0, 0, 0]])),
        ("no-configuration", asked(&[&[ANSWER, 4, 0], &[ANSWER, 1, 0]])),
        ("other-part-of-the-configuration", asked(&[&[ANSWER, 4, 0], &[ANSWER, 2, 0]])),
        ("configuration-cut-off", asked(&[&[ANSWER, 4, 0], &[ANSWER, 3, 0]])),
        ("configuration-with-flags", asked(&[&[ANSWER, 4, 0], &[ANSWER, 4, 0, 1, 0]])),
        ("configuration", {
            let space = [ANSWER, 0, 2, 0, 0, 0, 0, 9, 1, 0, 4, 0, 0xdc, 5, 0];
            asked(&[&[ANSWER, 4, 0], &space])
        }),
        ("address-of-a-group", {
            let space = [ANSWER, 0, 3, 0, 0, 0, 0, 9, 1, 0, 4, 0, 67, 0, 0];
            asked(&[&[ANSWER, 4, 0], &space])
        }),
        ("status-without-features", {
            offered.clone().add(&[ANSWER, 0, 0, ANSWER, 0, 0, ANSWER, 8, 0]).bytes()
        }),
        ("other-ring-stops", running.clone().add(&[STOP, ANSWER, 1, 7, 0]).bytes()),
        ("too-many-rings", start.clone().add(&[GO_ON, 2, 1, 0, 2, 2, 0, 2, 0, 7]).bytes()),
        ("out-of-order", start.clone().add(&OFFER).add(&[STOP, GO_ON, STOP]).bytes()),
        ("late", start.clone().add(&[1, 4, 199, 4, 1]).bytes()),
        ("late-start", offered.clone().add(&[4, 250, 4, 250]).bytes()),
        ("patient", running.clone().add(&[4, 250, 4, 250, STOP, 4, 100, 4, 100]).bytes()),
        ("overfed", running.clone().add(&[5, 0]).bytes()),
        ("closed", offered.clone().add(&[1, 6, 0, 1]).bytes()),
        ("unasked", running.clone().add(&[7, 1, 0, 0]).bytes()),
        ("asked-while-rings-run", {
            let asks = [5, 1, GO_ON, 5, 1, 5, 3, GO_ON, 5, 3, GO_ON, 5, 2, 5, 1, STOP, GO_ON];
            running.clone().add(&asks).bytes()
        }),
        ("pairs-without-acknowledgements", {
            let wants = wants(&ALL, &[1 | 4 | 8], 1).add(&[GO_ON]).add(&OFFER).add(&[GO_ON]);
            wants.add(&[5, 3, GO_ON, 5, 4, 1, 4, 200]).bytes()
        }),
    ];
    let odd = odd_answers().into_iter();
    seeds.extend(odd.map(|(name, odd)| (name, offered.clone().add(&odd).add(&[GO_ON]).bytes())));
    seeds
}

/// 1 pair, everything wanted, rings of 16.
const DRIVER: [u8; 3] = [0, 0x3f, 3];
/// What the back-end of a driver does.
mod back_end {
    pub(super) const RECEIVE: [u8; 2] = [1, 8];
    pub(super) const TRANSMIT: [u8; 2] = [3, 8];
    pub(super) const ARM: u8 = 5;
    pub(super) const HANG_UP: [u8; 2] = [6, 0];
    pub(super) const DISCONNECT: [u8; 2] = [7, 0];
    pub(super) const STOP: [u8; 2] = [7, 1];
    pub(super) const SCRIBBLE: u8 = 8;
    pub(super) const GIVE_UP: u8 = 10;
    pub(super) const ANSWER: u8 = 11;
    pub(super) const GO_ON: u8 = 15;
}

pub(super) fn driver() -> Vec<Seed> {
    use back_end as b;
    let bursts = [&b::RECEIVE[..], &b::TRANSMIT, &[b::ARM], &b::RECEIVE].concat();
    let up = Script::new(&DRIVER).add(&[b::GO_ON]);
    let at = |offset: u8, bytes: [u8; 8]| [&[b::SCRIBBLE, offset, 0][..], &bytes].concat();
    let with = |acts: &[&[u8]]| up.clone().add(&acts.concat()).bytes();
    let answered = |acts: &[&[u8]]| Script::new(&DRIVER).add(&acts.concat()).bytes();
    let mut seeds = vec![
        ("running", with(&[&bursts])),
        ("split", Script::new(&[0, 0x3c, 3]).add(&[b::GO_ON]).add(&bursts).bytes()),
        ("plain", Script::new(&[1, 0, 5]).add(&[b::GO_ON]).add(&bursts).bytes()),
        ("three-pairs", Script::new(&[2, 0x4f, 1]).add(&[b::GO_ON]).add(&bursts).bytes()),
        ("hang-up", with(&[&bursts, &b::HANG_UP, &bursts])),
        ("hang-up-early", Script::new(&DRIVER).add(&b::HANG_UP).bytes()),
        ("disconnected-here", with(&[&bursts, &b::DISCONNECT, &bursts])),
        ("stopped-here", with(&[&bursts, &b::STOP, &bursts, &[b::ANSWER, 9, 0, b::ANSWER, 9, 0]])),
        ("given-up", with(&[&[b::GIVE_UP], &bursts])),
        ("pairs-and-commands", with(&[&[7, 3, b::ANSWER, 0, 0, 7, 6, 7, 2, 7, 6], &bursts])),
        ("configuration-changed", {
            let changed = [7, 16, b::ANSWER, 0, 0, 7, 16, 7, 16, b::ANSWER, 1, 0];
            with(&[&changed, &[7, 8, 7, 12, 7, 9, 7, 15, 7, 16, 7, 13, 7, 16], &bursts])
        }),
        ("second-socket-closed", with(&[&[7, 16, 7, 7], &bursts])),
        ("no-features", answered(&[&[b::ANSWER, 2, 0, b::GO_ON]])),
        ("refused", answered(&[&[b::ANSWER, 0, 0, b::ANSWER, 0, 0, b::ANSWER, 7, 0, b::GO_ON]])),
        ("scribbled", with(&[&at(0, [0xff; 8]), &bursts, &at(80, [0xff; 8]), &bursts])),
        ("scribbled-flags", with(&[&at(8, [60, 0, 0, 0, 0, 0, 0x80, 0x80]), &bursts])),
    ];
    let odd = odd_answers().into_iter().filter(|(_, odd)| odd[0] == ANSWER);
    seeds.extend(odd.map(|(name, odd)| (name, answered(&[&[b::ANSWER], &odd[1..], &[b::GO_ON]]))));
    seeds
}

/// 1 pair, everything offered, guarded memory.
const DEVICE: [u8; 3] = [0, 0xff, 0];

pub(super) fn device() -> Vec<Seed> {
    let up = running(&DEVICE, VERSION_1 | PROTOCOL, &[0, 1]);
    let bursts = [1, 8, 2, 8, 3, 1, 8];
    let mut seeds = vec![
        ("running", up.clone().add(&bursts).bytes()),
        ("packed", running(&DEVICE, VERSION_1 | PACKED, &[0, 1]).add(&bursts).bytes()),
        ("two-pairs", running(&[1, 0xff, 1], VERSION_1, &[0, 1, 2, 3]).add(&bursts).bytes()),
        ("hang-up", up.clone().add(&[4, 0, 1, 1]).bytes()),
        ("disconnect", up.clone().add(&[5, 0, 2, 1]).bytes()),
        ("stopped-within-a-burst", up.clone().add(&[8, 6, 0, 0, NEED_REPLY, 1, 8]).bytes()),
        ("memory-within-a-burst", up.clone().add(&[8, 12, 0, 0, NEED_REPLY, 1, 8]).bytes()),
        ("many-at-once", up.clone().add(&[7, 6, 0, 0, 1, 7, 9, 0, 0, 1, 7, 6, 0, 0, 1]).bytes()),
    ];
    seeds.extend(
        odd_messages()
            .into_iter()
            .map(|(name, odd)| (name, up.clone().add(&odd).add(&bursts).bytes())),
    );
    seeds
}

/// Features of all kinds; rings of 256; a device that goes on where rings are.
const RELAY: [u8; 4] = [0xff, 8, 3, 24];

pub(super) fn relay() -> Vec<Seed> {
    let agreed = |start: &[u8], features| {
        Script::new(start).add(&say(&[2, 1])).add(&say(&[1, features])).add(&say(&[12, 0, 0]))
    };
    let running = |start: &[u8], features, rings: &[u8]| {
        let base = if features & PACKED == 0 { 0 } else { 251 };
        rings.iter().fold(agreed(start, features), |script, &ring| {
            let messages = [[4, ring, 252], [5, ring, base], [8, ring, 0], [10, ring, 0]];
            let script = messages.iter().fold(script, |script, said| script.add(&say(said)));
            script.add(&say(&[9, ring, 0])).add(&say(&[7, ring, 1]))
        })
    };
    let up = running(&RELAY, VERSION_1 | PROTOCOL, &[0, 1]);
    let (ready, more) = (say(&[3, 0, 15, 0]), say(&[13, 0, 2]));
    let mut seeds = vec![
        ("running", up.clone().bytes()),
        ("packed", running(&RELAY, VERSION_1 | PACKED | PROTOCOL, &[0, 1]).bytes()),
        ("begins-anew-only", running(&[0xff, 8, 0, 24], VERSION_1 | PROTOCOL, &[1, 0]).bytes()),
        ("iommu", running(&[0xff, 8, 4, 24], VERSION_1, &[0, 1]).bytes()),
        ("ready", up.clone().add(&ready).add(&say(&[3, 0, 0, 0])).add(&ready).bytes()),
        (
            "next",
            up.clone().add(&[4, 0]).join(&running(&[], VERSION_1 | PROTOCOL, &[0, 1])).bytes(),
        ),
        ("config", up.clone().add(&[2, 1]).add(&say(&[15, 0, 0, 24, 0])).bytes()),
        ("yanked", up.clone().add(&[3, 0]).bytes()),
        ("disconnected", up.clone().add(&[5, 0]).bytes()),
        ("stopped-where", up.clone().add(&[8, 3, 0, 3, 0]).add(&say(&[6, 0])).bytes()),
        ("many-at-once", up.clone().add(&[7, 6, 0, 0, 1, 7, 9, 0, 0, 1]).bytes()),
    ];
    for (name, fails) in [("map-fails", 1), ("start-fails", 2), ("unmap-fails", 4), ("all-fail", 7)]
    {
        let failing = up.clone().add(&[1, fails]).add(&more).add(&say(&[12, 0, 1]));
        seeds.push((name, failing.add(&say(&[7, 0, 0])).add(&say(&[7, 0, 1])).bytes()));
    }
    let odd = odd_messages().into_iter();
    seeds.extend(odd.map(|(name, odd)| (name, up.clone().add(&odd).bytes())));
    seeds
}

/// Acts of the driver and of control.
mod act {
    pub(super) const SCRIBBLE: u8 = 0;
    pub(super) const DESCRIPTOR: u8 = 1;
    pub(super) const WORD: u8 = 2;
    pub(super) const MEMORY: u8 = 3;
    pub(super) const ENABLE: u8 = 4;
    pub(super) const STOP: u8 = 5;
    pub(super) const KICK: u8 = 6;
    pub(super) const CALL: u8 = 7;
    pub(super) const ASK: u8 = 8;
    pub(super) const RESTART: u8 = 9;
    pub(super) const START: u8 = 10;
    pub(super) const CLOSE: u8 = 11;
    pub(super) const OFFER: u8 = 12;
}

const RX: u8 = 0;
const TX: u8 = 1;

/// Receives all there is.
const RECEIVE: [u8; 4] = [3, 255, 255, 0];
/// Sends a packet of 60 bytes, one of 300, and one of 1514.
const SEND: [u8; 13] = [5, 255, 3, 0, 60, 0, 0, 44, 1, 0, 0xEA, 5, 0];
const ARM: [u8; 4] = [7, RX, 7, TX];

/// 8 chains (with `TABLES`: each in its own) of this many parts, about 300 bytes.
fn offer(lane: u8, parts: u8) -> Vec<u8> {
    [&[0, act::OFFER, lane, 8, parts - 1, 9, 21], &[44; 4][..]].concat()
}

const TABLES: u8 = 0x80;

/// Rings of 64 descriptors; both layouts take the same inputs otherwise, as a packed ring's size is
/// the byte and one more, and that of others its logarithm.
fn sized(packed: bool, features: u8, accepts: u8, kicks: u8, base: u16) -> Script {
    let size = if packed { 63 } else { 6 };
    let [low, high] = base.to_le_bytes();
    Script::new(&[size, size, features, accepts, kicks, low, high, 1, 2, 3, 0])
}

fn plain(packed: bool) -> Script {
    sized(packed, 0, 0, 0, 0x8000)
}

/// With chains for both rings, of this many parts.
fn full(start: Script, parts: u8) -> Script {
    start.add(&offer(RX, parts)).add(&offer(TX, parts))
}

fn bursts(script: Script) -> Script {
    script.add(&RECEIVE).add(&SEND).add(&ARM)
}

fn turns(mut script: Script, parts: u8) -> Vec<u8> {
    for _ in 0..20 {
        script = bursts(full(script, parts));
    }
    script.bytes()
}

/// Acts on full rings, then bursts.
fn then(packed: bool, acts: &[&[u8]]) -> Vec<u8> {
    let mut script = full(plain(packed), 1);
    for act in acts {
        script = script.add(&[0]).add(act);
    }
    bursts(script).bytes()
}

pub(super) fn rings(packed: bool) -> Vec<Seed> {
    [well_formed(packed), broken(packed), controlled(packed)].concat()
}

/// Drivers that keep to the rules.
fn well_formed(packed: bool) -> Vec<Seed> {
    use crate::vhost::{EVENT_IDX, IN_ORDER, INDIRECT, MERGEABLE, RX_OFFLOADS};
    let sized = |features, accepts, kicks, base| sized(packed, features, accepts, kicks, base);
    let plain = || plain(packed);
    let rich = || sized(MERGEABLE | INDIRECT | EVENT_IDX | RX_OFFLOADS, 15, 1, 0x8005);
    vec![
        ("nothing", plain().bytes()),
        ("single", bursts(full(plain(), 1)).bytes()),
        ("chains", turns(plain(), 3)),
        ("turns", turns(sized(MERGEABLE, 0, 0, 0xFFF0), 2)),
        ("tables", turns(rich(), TABLES | 3)),
        ("rich", turns(rich(), 4)),
        ("in-order", turns(sized(IN_ORDER | INDIRECT, 0, 2, 3), 2)),
        ("interrupts", bursts(full(sized(EVENT_IDX, 0, 1, 0).add(&ARM), 1)).bytes()),
        (
            "released-in-parts",
            full(plain(), 1).add(&[3, 5, 2, 0, 3, 5, 0, 0, 3, 255, 1, 0]).bytes(),
        ),
        (
            "not-sent",
            full(plain(), 1).add(&[5, 255, 0x82, 0, 60, 0, 0, 60, 0, 0]).add(&SEND).bytes(),
        ),
        (
            "offloads",
            full(rich(), 4)
                .add(&[5, 255, 6, 0])
                .add(&[0, 1, 1, 0, 1, 2, 0, 1, 3, 0, 1, 4, 0, 1, 5, 0, 1, 0x83])
                .bytes(),
        ),
        ("long-packets", full(rich(), 4).add(&[5, 255, 2, 0, 0xB8, 11, 0, 0x40, 31, 0]).bytes()),
    ]
}

/// Drivers that break one rule.
fn broken(packed: bool) -> Vec<Seed> {
    let then = |acts: &[&[u8]]| then(packed, acts);
    vec![
        ("scribbled", then(&[&[act::SCRIBBLE, 0, 0, 0, 0, 0], &[0xEE; 16]])),
        ("descriptor-beyond", then(&[&[act::DESCRIPTOR, RX, 1, 8, 0, 0, 255, 255]])),
        ("descriptor-loops", then(&[&[act::DESCRIPTOR, RX, 1, 1 | 0x40, 9, 0, 40, 0]])),
        ("descriptor-of-the-other-way", then(&[&[act::DESCRIPTOR, RX, 1, 2 | 0x40, 9, 0, 40, 0]])),
        ("buffer-too-short", then(&[&[act::DESCRIPTOR, TX, 1, 2 | 0x40, 9, 0, 5, 0]])),
        ("table-unasked", then(&[&[act::DESCRIPTOR, RX, 0, 4 | 0x40, 9, 0, 64, 0]])),
        (
            "first-bad",
            then(&[
                &[act::DESCRIPTOR, RX, 0, 2 | 0x40, 9, 0, 40, 0],
                &[act::DESCRIPTOR, TX, 0, 0x40, 9, 0, 40, 0],
            ]),
        ),
        ("runaway", then(&[&[act::WORD, RX, 0x80, 77, 0], &[act::WORD, TX, 0x80, 77, 0]])),
        ("no-such-descriptor", then(&[&[act::WORD, RX, 6, 77, 0], &[act::WORD, TX, 6, 77, 0]])),
    ]
}

/// What control does meanwhile.
fn controlled(packed: bool) -> Vec<Seed> {
    let then = |acts: &[&[u8]]| then(packed, acts);
    let plain = || plain(packed);
    vec![
        (
            "memory-moved",
            then(&[
                &[act::MEMORY, 32],
                &[act::OFFER, RX, 3, 0, 0, 0, 9, 9, 9, 9],
                &[act::MEMORY, 0],
            ]),
        ),
        ("memory-taken", then(&[&[act::MEMORY, 2]])),
        ("rings-taken", then(&[&[act::MEMORY, 1], &[act::MEMORY, 16]])),
        ("disabled", then(&[&[act::ENABLE, RX], &[act::ENABLE, TX]])),
        ("enabled-again", then(&[&[act::ENABLE, RX], &[act::ENABLE, RX | 2]])),
        ("stopped", then(&[&[act::STOP, RX], &[act::STOP, TX]])),
        (
            "stopped-and-goes-on",
            then(&[
                &[act::STOP, RX],
                &[act::RESTART, RX, 0, 0],
                &[act::STOP, TX],
                &[act::RESTART, TX, 0, 0],
            ]),
        ),
        ("reset", then(&[&[act::RESTART, RX | 2, 7, 0x80], &[act::RESTART, TX | 2, 9, 0]])),
        ("elsewhere", then(&[&[act::START, RX, 5, 3, 0, 0, 1, 0, 2, 0, 3]])),
        ("areas-overlap", then(&[&[act::START, TX, 5, 3, 0, 0, 1, 0, 1, 0, 1]])),
        ("areas-beyond", then(&[&[act::START, TX, 5, 3, 0, 0xff, 0xff, 0, 1, 0, 1]])),
        ("areas-misaligned", then(&[&[act::START, TX | 4, 5, 3, 0, 1, 0, 0, 1, 0, 1]])),
        ("kick-taken", then(&[&[act::KICK, RX], &[act::KICK, TX | 2]])),
        ("call-exchanged", then(&[&[act::CALL, RX | 2], &[act::CALL, TX]])),
        ("calls-unwanted", then(&[&[act::ASK, RX, 1, 0, 0], &[act::ASK, TX, 1, 1, 0]])),
        ("closed", then(&[&[act::CLOSE, 0xEE]])),
        ("within-a-burst", {
            let script = full(plain(), 1).add(&[3, 255, 255, 3, act::STOP, RX, act::MEMORY, 32]);
            let script = script.add(&[act::ENABLE, TX, 5, 255, 1, 2, 60, 0, 0, act::STOP, TX]);
            script.add(&[act::CALL, TX | 2, 0, act::RESTART, RX, 0, 0]).add(&RECEIVE).bytes()
        }),
        ("restarted-within-a-burst", {
            let script = full(plain(), 1).add(&[3, 255, 255, 2, act::RESTART, RX, 9, 0]);
            bursts(script.add(&[act::OFFER, RX, 3, 0, 0, 0, 9, 9, 9, 9])).bytes()
        }),
    ]
}

/// Operations, one after the other.
type Parts<'a> = &'a [&'a [[u8; 4]]];

/// Of [`crate::vhost_notes`]: each operation is a kind and three bytes.
pub(super) fn notes() -> Vec<Seed> {
    let traffic: &[[u8; 4]] = &[[0, 10, 0, 0], [4, 9, 0, 0], [2, 5, 0, 0], [5, 3, 40, 0]];
    let logged: &[[u8; 4]] = &[[7, 8, 1, 0], [8, 1, 0, 0]];
    let restart: &[[u8; 4]] = &[[9, 0, 0, 0]];
    let script =
        |header: u8, parts: Parts<'_>| Script::new(&[header]).add(&parts.concat().concat()).bytes();
    let many = traffic.repeat(12);
    let parts: &[([&'static str; 2], Parts<'_>)] = &[
        (["split-logged", "packed-logged"], &[traffic, logged, traffic, &[[8, 0, 0, 0]], traffic]),
        (["split-log-exchanged", "packed-log-exchanged"], &[logged, traffic, logged, traffic]),
        (["split-log-too-long", "packed-log-too-long"], &[traffic, &[[7, 40, 3, 0xff]], traffic]),
        (["split-restarted", "packed-restarted"], &[&many, restart, &many, restart, traffic]),
        (["split-forgotten", "packed-forgotten"], &[traffic, &[[11, 3, 0, 0]], traffic]),
        (["split-position", "packed-position"], &[traffic, &[[10, 16, 9, 1]], restart, traffic]),
        (["split-beyond", "packed-beyond"], &[traffic, &[[10, 16, 99, 1]], restart, traffic]),
        (["split-marked", "packed-marked"], &[traffic, &[[10, 0, 2, 3]], restart, traffic]),
        (["split-version", "packed-version"], &[traffic, &[[10, 8, 2, 1]], restart, traffic]),
        (["split-short", "packed-short"], &[traffic, &[[9, 0xf0, 3, 0]], traffic]),
    ];
    let both = parts.iter().flat_map(|(names, parts)| {
        names.iter().zip([6, 7]).map(|(name, header)| (*name, script(header, parts)))
    });
    both.collect()
}
