//! What a driver asks on the control queue, and what comes of it.

use super::Event;
use super::filter::Filter;
use super::session::Session;
use crate::endpoint::Events;
use crate::wire::{Command, feature};

/// Most commands of one turn, so that a driver that never stops cannot keep the caller.
const COMMANDS_PER_TURN: usize = 16;

/// What commands change.
struct Served<'s> {
    filter: &'s mut Filter,
    features: u64,
    pairs: u16,
    wanted: &'s mut Option<u16>,
    /// The driver is to announce itself.
    announce: bool,
}

impl Session {
    /// Does what the driver asks, and reports it.
    pub(super) fn serve_commands(&mut self, events: &mut Events<Self>) {
        let Some(mut queue) = self.commands.take() else { return };
        let mut served = Served {
            features: self.connection.machine.features(),
            pairs: self.config.queue_pairs,
            announce: self.status.wants_announcement(),
            filter: &mut self.filter,
            wanted: &mut self.pairs_wanted,
        };
        // The link's end is told elsewhere.
        let _ = queue.serve(COMMANDS_PER_TURN, |bytes| {
            let event = Command::decode(bytes).and_then(|command| served.take(&command));
            let done = event.is_some();
            events.extend(event);
            done
        });
        if !served.announce && self.status.wants_announcement() {
            self.status.want_announcement(false);
            self.channel.set_known(self.status.word());
        }
        self.commands = Some(queue);
    }
}

impl Served<'_> {
    /// What is reported of a command; `None` when it is refused.
    fn take(&mut self, command: &Command) -> Option<Event> {
        let needed = feature::CTRL_VQ | command.feature();
        if self.features & needed != needed {
            return None;
        }
        match command {
            Command::QueuePairs(pairs) => {
                if *pairs > self.pairs {
                    return None;
                }
                *self.wanted = Some(*pairs);
                Some(Event::PairsWanted(*pairs))
            }
            Command::Announced => {
                self.announce = false;
                Some(Event::Announced)
            }
            other => {
                let taken = self.filter.take(other);
                taken.then(|| Event::FilterChanged(Box::new(self.filter.clone())))
            }
        }
    }
}
