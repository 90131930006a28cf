//! Tables of messages: that of the recorded build, and those of releases.

use std::collections::BTreeMap;

const RECORDED: &str = include_str!("../../fixtures/vpp/table-26.10.txt");
const RELEASES: &str = include_str!("../../fixtures/vpp/releases.txt");

/// Numbers and names with CRCs, and the release that they are of.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) names: BTreeMap<u16, String>,
    pub(crate) version: String,
}

impl Table {
    /// That of the build that was recorded.
    pub(crate) fn recorded() -> Self {
        let rows = lines(RECORDED).map(|line| {
            let (number, name) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), name.to_owned())
        });
        Self { names: rows.collect(), version: "26.10-rc0~374-gb575ec2c56d".to_owned() }
    }

    /// That of a release, with numbers of no build in particular.
    pub(crate) fn of_release(release: &str) -> Self {
        let mut rows = lines(RELEASES).map(|line| line.split(' ').collect::<Vec<_>>());
        let column = rows.next().unwrap().iter().position(|it| *it == release).unwrap();
        let there = rows.filter(|row| row[column] != "-");
        let mut next = 40;
        let names = there.map(|row| {
            next += 1;
            let number = match row[0] {
                "sockclnt_create" => 15,
                "sockclnt_create_reply" => 16,
                _ => next,
            };
            (number, format!("{}_{}", row[0], row[column]))
        });
        Self { names: names.collect(), version: format!("{release}-release") }
    }

    /// Gives a message another CRC.
    pub(crate) fn change(&mut self, message: &str, crc: &str) {
        let number = self.number(message);
        self.names.insert(number, format!("{message}_{crc}"));
    }

    /// Removes a message.
    pub(crate) fn remove(&mut self, message: &str) {
        let number = self.number(message);
        self.names.remove(&number);
    }

    pub(crate) fn number(&self, message: &str) -> u16 {
        let found = self.names.iter().find(|(_, full)| short(full) == message);
        *found.unwrap_or_else(|| panic!("no message {message}")).0
    }

    /// Name of a message without its CRC.
    pub(crate) fn name(&self, number: u16) -> &str {
        self.names.get(&number).map_or("?", |full| short(full))
    }

    /// The answer to a client that connects.
    pub(crate) fn welcome(&self, context: &[u8], index: u32) -> Vec<u8> {
        let mut body = vec![0, 16, 0, 0, 0, 0];
        body.extend(context);
        body.extend([0; 4]);
        body.extend(index.to_be_bytes());
        body.extend(u16::try_from(self.names.len()).unwrap().to_be_bytes());
        for (number, name) in &self.names {
            body.extend(number.to_be_bytes());
            let mut field = name.as_bytes().to_vec();
            field.resize(64, 0);
            body.extend(field);
        }
        body
    }
}

/// Name of a message without its CRC.
pub(crate) fn short(full: &str) -> &str {
    full.rsplit_once('_').map_or(full, |(name, _)| name)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}
