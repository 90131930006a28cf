//! Questions that wait for their replies.

use crate::station::{Echo, Station};
use crate::times::{Spread, Times};
use crate::values::Mac;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) target: IpAddr,
    pub(super) from: IpAddr,
    /// The neighbour that packets go to; `None`: without Ethernet addresses.
    pub(super) via: Option<IpAddr>,
    pub(super) count: Option<u64>,
    /// Zero: the next one as soon as none is waited for.
    pub(super) interval: Duration,
    /// Bytes of data.
    pub(super) size: usize,
    pub(super) timeout: Duration,
}

#[derive(Debug)]
pub(super) struct Asker {
    plan: Plan,
    ident: u16,
    data: Vec<u8>,
    neighbour: Option<Mac>,
    /// When the neighbour may be asked for again.
    who_has: Instant,
    /// When the next question is due, and how many there were.
    next: Instant,
    asked: u64,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    replied: u64,
    pub(super) duplicates: u64,
    pub(super) damaged: u64,
    times: Times,
}

/// A question without a reply.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// From 1.
    number: u64,
    since: Instant,
    /// `None`: not yet, as nobody knows where the neighbour is.
    sent: Option<Instant>,
}

/// What is written, to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    WhoHas,
    Echo { number: u64 },
}

/// The reply to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) number: u64,
    pub(super) from: IpAddr,
    pub(super) bytes: usize,
    pub(super) nanoseconds: u64,
}

impl Asker {
    pub(super) fn new(plan: Plan) -> anyhow::Result<Self> {
        let now = Instant::now();
        let [.., high, low] = std::process::id().to_be_bytes();
        Ok(Self {
            ident: u16::from_be_bytes([high, low]),
            data: (0..=250).cycle().take(plan.size).collect(),
            plan,
            neighbour: None,
            who_has: now,
            next: now,
            asked: 0,
            waiting: VecDeque::new(),
            replied: 0,
            duplicates: 0,
            damaged: 0,
            times: Times::new()?,
        })
    }

    pub(super) fn target(&self) -> IpAddr {
        self.plan.target
    }

    /// Questions asked, also those that waited for the neighbour in vain.
    pub(super) fn sent(&self) -> u64 {
        self.asked
    }

    /// Questions replied to.
    pub(super) fn received(&self) -> u64 {
        self.replied
    }

    pub(super) fn spread(&self) -> Option<Spread> {
        self.times.spread()
    }

    /// Whether every question was asked, and none waits for its reply.
    pub(super) fn is_done(&self) -> bool {
        self.plan.count.is_some_and(|count| self.asked >= count) && self.waiting.is_empty()
    }

    /// Behind the link may be somebody else now.
    pub(super) fn link_up(&mut self) {
        let now = Instant::now();
        (self.neighbour, self.who_has, self.next) = (None, now, now);
    }

    /// When there is something to do next.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let oldest = self.waiting.front().map(|oldest| oldest.since + self.plan.timeout);
        let unsent = self.waiting.iter().any(|waiting| waiting.sent.is_none());
        let send = unsent.then(|| if self.knows_the_way() { now } else { self.who_has });
        oldest.into_iter().chain(send).chain(self.next_question()).min()
    }

    /// When the next question is due, if there is one.
    fn next_question(&self) -> Option<Instant> {
        let more = self.plan.count.is_none_or(|count| self.asked < count);
        let most = if self.plan.interval.is_zero() { 1 } else { WAITING_MAX };
        let paused = self.waiting.len() >= most;
        (more && !paused).then_some(self.next)
    }

    fn knows_the_way(&self) -> bool {
        self.plan.via.is_none() || self.neighbour.is_some()
    }

    /// Gives up on questions that waited too long, and returns their numbers.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<u64> {
        let late = |waiting: &Waiting| now >= waiting.since + self.plan.timeout;
        let count = self.waiting.iter().take_while(|waiting| late(waiting)).count();
        self.waiting.drain(..count).map(|waiting| waiting.number).collect()
    }

    /// Writes what is to be sent now, if anything.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        station: &Station,
        out: &mut Vec<u8>,
    ) -> Option<Question> {
        if self.next_question().is_some_and(|next| now >= next) {
            self.asked += 1;
            self.waiting.push_back(Waiting { number: self.asked, since: now, sent: None });
            // Questions that were missed are not made up for.
            self.next = (self.next + self.plan.interval).max(now);
        }
        let unsent = self.waiting.iter().find(|waiting| waiting.sent.is_none())?;
        if let (Some(via), None) = (self.plan.via, self.neighbour) {
            station.write_who_has(self.plan.from, via, out);
            return (now >= self.who_has).then_some(Question::WhoHas);
        }
        let echo = Echo { ident: self.ident, number: short(unsent.number), data: &self.data };
        station.write_echo(self.neighbour, (self.plan.from, self.plan.target), echo, out);
        Some(Question::Echo { number: unsent.number })
    }

    /// What was written has been sent.
    pub(super) fn asked(&mut self, question: Question, now: Instant) {
        match question {
            Question::WhoHas => self.who_has = now + WHO_HAS_EVERY,
            Question::Echo { number } => {
                let waiting = self.waiting.iter_mut().find(|waiting| waiting.number == number);
                // The time that it took to find the neighbour is not the reply's.
                waiting.into_iter().for_each(|waiting| {
                    (waiting.since, waiting.sent) = (now, Some(now));
                });
            }
        }
    }

    /// Somebody said where `address` is.
    pub(super) fn neighbour(&mut self, address: IpAddr, mac: Mac) {
        if self.plan.via == Some(address) {
            self.neighbour = Some(mac);
        }
    }

    /// Takes a reply; returns what there is to say of it.
    pub(super) fn reply(&mut self, from: IpAddr, echo: &Echo<'_>, now: Instant) -> Option<Reply> {
        if from != self.plan.target || echo.ident != self.ident {
            return None;
        }
        let is_it =
            |waiting: &Waiting| short(waiting.number) == echo.number && waiting.sent.is_some();
        let Some(at) = self.waiting.iter().position(is_it) else {
            self.duplicates += 1;
            return None;
        };
        if echo.data != self.data {
            self.damaged += 1;
            return None;
        }
        let waiting = self.waiting.remove(at)?;
        let time = now.saturating_duration_since(waiting.sent?);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.times.record(nanoseconds);
        self.replied += 1;
        if self.plan.interval.is_zero() {
            self.next = now;
        }
        Some(Reply { number: waiting.number, from, bytes: echo.data.len(), nanoseconds })
    }
}

/// The number as packets carry it.
fn short(number: u64) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Most questions that wait for replies; then the next ones wait to be asked.
const WAITING_MAX: usize = 1024;

/// How often a neighbour is asked for while a question waits.
const WHO_HAS_EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn asker(count: u64, interval: u64) -> (Asker, Station) {
        let plan = Plan {
            target: TARGET,
            from: OURS,
            via: None,
            count: Some(count),
            interval: Duration::from_millis(interval),
            size: 3,
            timeout: Duration::from_millis(50),
        };
        let station = Station { mac: Mac([2; 6]), addresses: vec![OURS], ethernet: false };
        (Asker::new(plan).unwrap(), station)
    }

    fn ask(asker: &mut Asker, station: &Station, now: Instant) -> Option<Question> {
        let question = asker.ask(now, station, &mut Vec::new())?;
        asker.asked(question, now);
        Some(question)
    }

    fn reply(asker: &mut Asker, number: u16, data: &[u8], now: Instant) -> Option<u64> {
        let echo = Echo { ident: asker.ident, number, data };
        asker.reply(TARGET, &echo, now).map(|reply| reply.nanoseconds)
    }

    #[test]
    fn replies_are_matched_counted_and_timed() {
        let (mut asker, station) = asker(2, 10);
        let start = asker.next;
        let later = |millis| start + Duration::from_millis(millis);
        assert_eq!(ask(&mut asker, &station, start), Some(Question::Echo { number: 1 }));
        assert_eq!(ask(&mut asker, &station, later(5)), None);
        assert_eq!(asker.due(later(5)), Some(later(10)));
        assert_eq!(ask(&mut asker, &station, later(12)), Some(Question::Echo { number: 2 }));
        assert_eq!(reply(&mut asker, 2, &[0, 1, 2], later(13)), Some(1_000_000));
        assert_eq!(reply(&mut asker, 2, &[0, 1, 2], later(14)), None);
        assert_eq!(reply(&mut asker, 1, &[0, 1, 3], later(15)), None);
        assert!(!asker.is_done());
        assert_eq!(asker.due(later(20)), Some(later(50)));
        assert_eq!(asker.expire(later(49)), [0; 0]);
        assert_eq!(asker.expire(later(50)), [1]);
        assert!(asker.is_done());
        assert_eq!((asker.sent(), asker.received(), asker.duplicates, asker.damaged), (2, 1, 1, 1));
    }

    #[test]
    fn next_question_of_no_interval_waits_for_the_reply() {
        let (mut asker, station) = asker(2, 0);
        let start = asker.next;
        assert!(ask(&mut asker, &station, start).is_some());
        assert_eq!(ask(&mut asker, &station, start + Duration::from_millis(9)), None);
        assert!(reply(&mut asker, 1, &[0, 1, 2], start + Duration::from_millis(10)).is_some());
        assert!(ask(&mut asker, &station, start + Duration::from_millis(10)).is_some());
    }

    #[test]
    fn no_more_than_so_many_questions_wait() {
        let (mut asker, station) = asker(u64::MAX, 1);
        asker.plan.interval = Duration::from_nanos(1);
        let start = asker.next;
        let mut nanos = 0..;
        let asked = nanos.by_ref().take_while(|&nanos| {
            ask(&mut asker, &station, start + Duration::from_nanos(nanos)).is_some()
        });
        assert_eq!(asked.count(), WAITING_MAX);
        assert_eq!(asker.due(start), Some(start + asker.plan.timeout));
    }

    #[test]
    fn question_waits_for_the_neighbour_and_gives_up_in_time() {
        let (mut asker, mut station) = asker(1, 0);
        (asker.plan.via, station.ethernet) = (Some(TARGET), true);
        let start = asker.next;
        assert_eq!(ask(&mut asker, &station, start), Some(Question::WhoHas));
        assert_eq!(ask(&mut asker, &station, start + Duration::from_millis(1)), None);
        asker.neighbour(OURS, Mac([4; 6]));
        assert_eq!(ask(&mut asker, &station, start + Duration::from_millis(2)), None);
        asker.neighbour(TARGET, Mac([4; 6]));
        let at = start + Duration::from_millis(30);
        assert_eq!(ask(&mut asker, &station, at), Some(Question::Echo { number: 1 }));
        assert_eq!(asker.expire(start + Duration::from_millis(79)), [0; 0]);
        assert_eq!(asker.expire(start + Duration::from_millis(80)), [1]);
    }

    #[test]
    fn replies_of_others_are_nobodys() {
        let (mut asker, station) = asker(1, 0);
        let start = asker.next;
        assert!(ask(&mut asker, &station, start).is_some());
        let echo = Echo { ident: asker.ident, number: 1, data: &[0, 1, 2] };
        assert_eq!(asker.reply(OURS, &echo, start), None);
        let other = Echo { ident: asker.ident ^ 1, ..echo };
        assert_eq!(asker.reply(TARGET, &other, start), None);
        assert_eq!((asker.duplicates, asker.received()), (0, 0));
    }
}
