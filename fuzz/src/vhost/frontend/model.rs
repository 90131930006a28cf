//! The conversation as the specification has it, written down a second time.
//!
//! Spec: vhost-user "Communication", "Starting and stopping rings"; VIRTIO 1.3 §5.1.3.1.

use ringport_vhost_user::frontend::{Agreed, FrontendConfig, Incoming, Outgoing, RingSetup};
use ringport_vhost_user::wire::{MemoryRegion, ProtocolFeatures, feature};
use std::collections::VecDeque;
use std::time::Instant;

// Numbers of requests.
pub(super) const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
pub(super) const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const SET_VRING_ERR: u32 = 14;
pub(super) const GET_PROTOCOL_FEATURES: u32 = 15;
const SET_PROTOCOL_FEATURES: u32 = 16;
pub(super) const GET_QUEUE_NUM: u32 = 17;
const SET_VRING_ENABLE: u32 = 18;
const NET_SET_MTU: u32 = 20;
pub(super) const GET_CONFIG: u32 = 24;
const SET_STATUS: u32 = 39;
pub(super) const GET_STATUS: u32 = 40;

const HEADER: usize = 12;
/// Offset, size and flags of what is read of the configuration, and room for it.
const CONFIG: [u8; 24] = {
    let mut payload = [0; 24];
    payload[4] = 12;
    payload
};
const PAYLOAD_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Negotiating,
    Waiting,
    Starting,
    Running,
    Stopping,
    Stopped,
    Closed,
}

/// What becomes of bytes that are heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// The configuration was read again.
    Read,
    /// So many pairs are enabled.
    Enabled(u16),
    /// On to this phase, by an event.
    Goes(Phase),
    Fault,
    Incompatible,
    Refused(u64),
}

/// What a request is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    None,
    Ack,
    Own,
}

#[derive(Debug)]
struct Line {
    number: u32,
    payload: Vec<u8>,
    fd: bool,
    answer: Answer,
}

pub(super) struct Model {
    pub(super) config: FrontendConfig,
    pub(super) phase: Phase,
    pub(super) pairs: u16,
    features: u64,
    protocol: ProtocolFeatures,
    mac: Option<[u8; 6]>,
    mtu: Option<u16>,
    /// Whether the device's link is up, and an announcement is wanted.
    status: (bool, bool),
    /// What is asked while rings run.
    job: Option<Verdict>,
    /// What is to be said, in order.
    script: VecDeque<Line>,
    asked: Option<Line>,
    /// When the phase began.
    since: Instant,
    /// Of a reply that is not whole, and how many descriptors came with it.
    bytes: Vec<u8>,
    fds: usize,
}

impl Model {
    pub(super) fn new(config: FrontendConfig, now: Instant) -> Self {
        let mut model = Self {
            config,
            phase: Phase::Negotiating,
            pairs: 1,
            features: 0,
            protocol: ProtocolFeatures::NONE,
            mac: None,
            mtu: None,
            status: (true, false),
            job: None,
            script: VecDeque::new(),
            asked: None,
            since: now,
            bytes: Vec::new(),
            fds: 0,
        };
        model.line(GET_FEATURES, &[], false, Answer::Own);
        model
    }

    /// Number and payload length of what waits for its answer.
    pub(super) fn asked(&self) -> Option<(u32, usize)> {
        if self.phase == Phase::Closed {
            return None;
        }
        self.asked.as_ref().map(|line| (line.number, line.payload.len()))
    }

    /// The ring that was asked about.
    pub(super) fn ring_asked(&self) -> u32 {
        let payload = &self.asked.as_ref().expect("a question").payload;
        u32::from_le_bytes([payload[0], payload[1], payload[2], payload[3]])
    }

    pub(super) fn check_said(&mut self, said: Option<&Outgoing>) {
        let waits = self.asked.is_some() || self.phase == Phase::Closed;
        let expected = if waits { None } else { self.script.pop_front() };
        let (said, line) = match (said, expected) {
            (None, None) => return,
            (Some(said), Some(line)) => (said, line),
            (said, line) => panic!("{said:?} instead of {line:?}"),
        };
        let len = u32::try_from(line.payload.len()).unwrap();
        let flags = if line.answer == Answer::Ack { 9 } else { 1 };
        let header = [line.number, flags, len].map(u32::to_le_bytes).concat();
        assert_eq!(said.bytes, [header, line.payload.clone()].concat(), "{said:?}, {line:?}");
        assert_eq!(said.fds.len(), usize::from(line.fd), "{said:?}");
        if line.answer != Answer::None {
            self.asked = Some(line);
        }
    }

    pub(super) fn wanted(&self) -> usize {
        match self.phase {
            Phase::Closed => 0,
            _ if self.bytes.len() < HEADER => HEADER - self.bytes.len(),
            _ => HEADER + self.announced() - self.bytes.len(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let runs = matches!(self.phase, Phase::Negotiating | Phase::Starting | Phase::Stopping);
        (runs || self.job.is_some()).then(|| self.since + self.config.timeout)
    }

    /// Takes bytes, no more than wanted.
    pub(super) fn hear(&mut self, incoming: &Incoming<'_>) -> Verdict {
        let verdict = self.judge(incoming);
        if matches!(verdict, Verdict::Fault | Verdict::Incompatible | Verdict::Refused(_)) {
            self.phase = Phase::Closed;
            self.job = None;
        }
        verdict
    }

    /// Whether memory and rings may be given now. The back-end is to start them then.
    pub(super) fn offer(
        &mut self,
        region: &MemoryRegion,
        rings: &[RingSetup],
        now: Instant,
    ) -> bool {
        if self.phase != Phase::Waiting || rings.len() != 2 * usize::from(self.pairs) {
            return false;
        }
        (self.phase, self.since) = (Phase::Starting, now);
        let has = |bit| self.features & bit != 0;
        let (packed, toggled) = (has(feature::RING_PACKED), has(feature::PROTOCOL_FEATURES));
        let mtu =
            self.config.mtu.filter(|_| has(feature::MTU) && self.has(ProtocolFeatures::NET_MTU));
        let status = self.has(ProtocolFeatures::STATUS);
        self.number(SET_FEATURES, self.features);
        if status {
            self.number(SET_STATUS, 11);
            self.line(GET_STATUS, &[], false, Answer::Own);
        }
        let at = [region.guest_address, region.size, region.user_address, region.mmap_offset];
        self.told(
            SET_MEM_TABLE,
            &[&[1, 0, 0, 0, 0, 0, 0, 0], words(&at).as_slice()].concat(),
            true,
        );
        if let Some(mtu) = mtu {
            self.number(NET_SET_MTU, mtu.into());
        }
        for (index, ring) in rings.iter().enumerate() {
            self.ring(u32::try_from(index).unwrap(), ring, packed);
        }
        if toggled {
            (0..rings.len()).for_each(|ring| self.state(SET_VRING_ENABLE, ring, 1));
        }
        if status {
            self.number(SET_STATUS, 15);
        }
        if !self.has(ProtocolFeatures::REPLY_ACK) {
            self.line(GET_FEATURES, &[], false, Answer::Own);
        }
        true
    }

    /// Whether rings may be stopped now.
    pub(super) fn stop(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Running {
            return false;
        }
        (self.phase, self.since, self.job) = (Phase::Stopping, now, None);
        for ring in 0..2 * u32::from(self.pairs) {
            let payload = [ring, 0].map(u32::to_le_bytes).concat();
            self.line(GET_VRING_BASE, &payload, false, Answer::Own);
        }
        if self.has(ProtocolFeatures::STATUS) {
            self.number(SET_STATUS, 0);
        }
        true
    }

    /// Whether the configuration may be read now.
    pub(super) fn read_config(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Running || self.job.is_some() || !self.has_config() {
            return false;
        }
        (self.job, self.since) = (Some(Verdict::Read), now);
        self.line(GET_CONFIG, &CONFIG, false, Answer::Own);
        true
    }

    /// Whether so many pairs may be enabled now.
    pub(super) fn enable_pairs(&mut self, pairs: u16, now: Instant) -> bool {
        let can = self.features & feature::PROTOCOL_FEATURES != 0;
        let fits = (1..=self.pairs).contains(&pairs);
        if self.phase != Phase::Running || self.job.is_some() || !can || !fits {
            return false;
        }
        (self.job, self.since) = (Some(Verdict::Enabled(pairs)), now);
        for ring in 0..2 * usize::from(self.pairs) {
            self.state(SET_VRING_ENABLE, ring, u32::from(ring < 2 * usize::from(pairs)));
        }
        if !self.has(ProtocolFeatures::REPLY_ACK) {
            self.line(GET_FEATURES, &[], false, Answer::Own);
        }
        true
    }

    pub(super) fn close(&mut self) {
        (self.phase, self.job) = (Phase::Closed, None);
    }

    fn has_config(&self) -> bool {
        let tells = feature::MAC | feature::MTU | feature::STATUS;
        self.has(ProtocolFeatures::CONFIG) && self.features & tells != 0
    }

    pub(super) fn check_agreed(&self, agreed: &Agreed) {
        assert_eq!(agreed.features, self.features);
        assert_eq!(agreed.protocol_features, self.protocol);
        let told = (agreed.told.mac, agreed.told.mtu, agreed.told.carrier, agreed.told.announce);
        assert_eq!(told, (self.mac, self.mtu, self.status.0, self.status.1));
        assert_eq!((agreed.queue_pairs, agreed.control_ring), (self.pairs, None));
        if self.phase != Phase::Negotiating {
            let required = self.config.required_features;
            assert_eq!(agreed.features & required, required, "what is required is missing");
        }
    }

    fn ring(&mut self, index: u32, ring: &RingSetup, packed: bool) {
        let at = index as usize;
        self.bell(SET_VRING_CALL, index, ring.call.is_some());
        self.state(SET_VRING_NUM, at, ring.size.into());
        self.state(SET_VRING_BASE, at, if packed { 0x8000_8000 } else { 0 });
        let areas = [ring.descriptor_area, ring.device_area, ring.driver_area, 0];
        self.told(SET_VRING_ADDR, &words(&[&[index.into()], &areas[..]].concat()), false);
        if ring.err.is_some() {
            self.bell(SET_VRING_ERR, index, true);
        }
        self.bell(SET_VRING_KICK, index, ring.kick.is_some());
    }

    fn bell(&mut self, number: u32, ring: u32, fd: bool) {
        let word = u64::from(ring) | if fd { 0 } else { 0x100 };
        self.told(number, &word.to_le_bytes(), fd);
    }

    fn state(&mut self, number: u32, ring: usize, value: u32) {
        let ring = u32::try_from(ring).unwrap();
        self.told(number, &[ring, value].map(u32::to_le_bytes).concat(), false);
    }

    fn number(&mut self, number: u32, value: u64) {
        self.told(number, &value.to_le_bytes(), false);
    }

    /// Something that may fail.
    fn told(&mut self, number: u32, payload: &[u8], fd: bool) {
        let acks = self.has(ProtocolFeatures::REPLY_ACK);
        self.line(number, payload, fd, if acks { Answer::Ack } else { Answer::None });
    }

    fn line(&mut self, number: u32, payload: &[u8], fd: bool, answer: Answer) {
        self.script.push_back(Line { number, payload: payload.to_vec(), fd, answer });
    }

    fn has(&self, protocol: ProtocolFeatures) -> bool {
        self.protocol.bits() & protocol.bits() != 0
    }

    /// Bytes of the payload, by the header.
    fn announced(&self) -> usize {
        self.word(8) as usize
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn judge(&mut self, incoming: &Incoming<'_>) -> Verdict {
        let whole_header = self.bytes.len() >= HEADER;
        if incoming.fds_truncated || whole_header && !incoming.fds.is_empty() {
            return Verdict::Fault;
        }
        self.fds += incoming.fds.len();
        self.bytes.extend_from_slice(incoming.bytes);
        if self.bytes.len() < HEADER {
            return Verdict::Nothing;
        }
        // Version 1, a reply, and nothing else.
        if self.word(4) != 5 || self.announced() > PAYLOAD_MAX {
            return Verdict::Fault;
        }
        if self.bytes.len() < HEADER + self.announced() {
            return Verdict::Nothing;
        }
        let number = self.word(0);
        let payload = std::mem::take(&mut self.bytes).split_off(HEADER);
        let with_fds = std::mem::take(&mut self.fds) > 0;
        let Some(asked) = self.asked.take_if(|asked| asked.number == number) else {
            return Verdict::Fault;
        };
        if with_fds {
            return Verdict::Fault;
        }
        match self.take(&asked, &payload) {
            Verdict::Nothing => self.go_on(),
            ends => ends,
        }
    }

    fn take(&mut self, asked: &Line, payload: &[u8]) -> Verdict {
        if asked.number == GET_CONFIG {
            return self.take_config(payload);
        }
        let Ok(bytes) = <[u8; 8]>::try_from(payload) else { return Verdict::Fault };
        let value = u64::from_le_bytes(bytes);
        match asked.number {
            GET_VRING_BASE if bytes[..4] != asked.payload[..4] => Verdict::Fault,
            GET_VRING_BASE => Verdict::Nothing,
            GET_FEATURES if self.phase == Phase::Negotiating => self.take_features(value),
            GET_FEATURES => Verdict::Nothing,
            GET_PROTOCOL_FEATURES => self.take_protocol_features(value),
            GET_QUEUE_NUM if value == 0 => Verdict::Fault,
            GET_QUEUE_NUM => {
                self.pairs = u16::try_from(value.min(self.config.queue_pairs.into())).unwrap();
                Verdict::Nothing
            }
            GET_STATUS if value & 8 == 0 => Verdict::Incompatible,
            GET_STATUS => Verdict::Nothing,
            _ if value != 0 => Verdict::Refused(value),
            _ => Verdict::Nothing,
        }
    }

    fn take_features(&mut self, offered: u64) -> Verdict {
        use feature as f;
        let mut common = (self.config.features | self.config.required_features) & offered;
        if !self.config.protocol_features.is_empty() {
            common |= offered & f::PROTOCOL_FEATURES;
        }
        let mut drop_unless =
            |needed: bool, bits: u64| common &= if needed { u64::MAX } else { !bits };
        let has = |bit| offered & (self.config.features | self.config.required_features) & bit != 0;
        drop_unless(has(f::CSUM), f::HOST_TSO4 | f::HOST_TSO6 | f::HOST_ECN);
        drop_unless(has(f::HOST_TSO4) || has(f::HOST_TSO6), f::HOST_ECN);
        let merged = has(f::GUEST_CSUM) && has(f::MRG_RXBUF);
        drop_unless(merged, f::GUEST_TSO4 | f::GUEST_TSO6 | f::GUEST_ECN);
        drop_unless(has(f::GUEST_TSO4) || has(f::GUEST_TSO6), f::GUEST_ECN);
        drop_unless(has(f::STATUS), f::GUEST_ANNOUNCE);
        drop_unless(has(f::CTRL_VQ), f::CTRL_RX | f::CTRL_VLAN | f::CTRL_MAC_ADDR);
        if common & self.config.required_features != self.config.required_features {
            return Verdict::Incompatible;
        }
        self.features = common;
        if common & f::PROTOCOL_FEATURES == 0 {
            return self.take_protocol_features(0);
        }
        self.line(GET_PROTOCOL_FEATURES, &[], false, Answer::Own);
        Verdict::Nothing
    }

    fn take_protocol_features(&mut self, offered: u64) -> Verdict {
        let common = self.config.protocol_features.bits() & offered;
        self.protocol = ProtocolFeatures::from_bits(common);
        if !self.has(ProtocolFeatures::CONFIG) {
            // Nobody says which address it is, and what the status.
            let told = feature::MAC | feature::STATUS | feature::GUEST_ANNOUNCE;
            self.features &= !told;
            if self.config.required_features & told != 0 {
                return Verdict::Incompatible;
            }
        }
        if self.features & feature::PROTOCOL_FEATURES != 0 {
            self.line(SET_PROTOCOL_FEATURES, &common.to_le_bytes(), false, Answer::None);
        }
        self.line(SET_OWNER, &[], false, Answer::None);
        let several = self.features & feature::MQ != 0 && self.has(ProtocolFeatures::MQ);
        if self.config.queue_pairs > 1 && several {
            self.line(GET_QUEUE_NUM, &[], false, Answer::Own);
        }
        if self.has_config() {
            self.line(GET_CONFIG, &CONFIG, false, Answer::Own);
        }
        Verdict::Nothing
    }

    /// Offset, size and flags as they were asked for, then address, status, pairs, MTU; or nothing.
    fn take_config(&mut self, payload: &[u8]) -> Verdict {
        if payload.is_empty() {
            return Verdict::Nothing;
        }
        if payload.len() != 24 || payload[..12] != [0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0] {
            return Verdict::Fault;
        }
        let mac: [u8; 6] = payload[12..18].try_into().unwrap();
        let mtu = u16::from_le_bytes([payload[22], payload[23]]);
        let has = |bit| self.features & bit != 0;
        self.mac = (has(feature::MAC) && mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac);
        self.mtu = (has(feature::MTU) && mtu >= 68).then_some(mtu);
        let (up, wanted) = (payload[18] & 1 != 0, payload[18] & 2 != 0);
        self.status = (up || !has(feature::STATUS), wanted && has(feature::GUEST_ANNOUNCE));
        Verdict::Nothing
    }

    /// A phase is over when nothing is to be asked any more.
    fn go_on(&mut self) -> Verdict {
        if self.script.iter().any(|line| line.answer != Answer::None) {
            return Verdict::Nothing;
        }
        self.phase = match self.phase {
            Phase::Negotiating => Phase::Waiting,
            Phase::Starting => Phase::Running,
            Phase::Stopping => Phase::Stopped,
            Phase::Running => return self.job.take().unwrap_or(Verdict::Nothing),
            _ => return Verdict::Nothing,
        };
        Verdict::Goes(self.phase)
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
