//! The parts of `PROTOCOL.md` that are written to be read by a program.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) const TEXT: &str = include_str!("../../PROTOCOL.md");

/// Bytes, as a block `vector` gives them.
#[derive(Debug, Default)]
pub(crate) struct Vector {
    pub(crate) bytes: Vec<u8>,
    /// What it is: the name of a message, or of something in memory.
    pub(crate) of: String,
    pub(crate) sha256: Option<String>,
    /// Whether bytes without a meaning hold what its sender had there.
    pub(crate) garbage: bool,
}

/// One fenced block: what its first line says, where that is a name, and its lines without comments.
pub(crate) struct Block {
    pub(crate) attributes: BTreeMap<&'static str, &'static str>,
    pub(crate) lines: Vec<&'static str>,
}

/// One message of a handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) by_client: bool,
    pub(crate) vector: &'static str,
}

/// The fenced blocks of one kind.
pub(crate) fn blocks(kind: &str) -> Vec<Block> {
    let fenced = TEXT.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| Block::parse(block, kind)).collect()
}

impl Block {
    fn parse(block: &'static str, kind: &str) -> Option<Self> {
        let (info, text) = block.split_once('\n')?;
        if info != kind {
            return None;
        }
        let lines = text.lines().map(|line| line.split(';').next().unwrap().trim());
        let mut lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        let head = lines.first().filter(|line| line.starts_with("name=")).copied();
        if head.is_some() {
            lines.remove(0);
        }
        let attribute = |word: &'static str| word.split_once('=').expect(word);
        let attributes = head.unwrap_or_default().split_whitespace().map(attribute).collect();
        Some(Self { attributes, lines })
    }
}

/// All vectors, by name.
pub(crate) fn vectors() -> BTreeMap<&'static str, Vector> {
    let mut all = BTreeMap::new();
    for block in blocks("vector") {
        let name = block.attributes["name"];
        let known = ["name", "len", "of", "sha256", "from", "padding", "packets", "buffers"];
        assert!(block.attributes.keys().all(|key| known.contains(key)), "{name}");
        let vector = Vector {
            bytes: image(name, block.attributes["len"].parse().unwrap(), &block.lines),
            of: block.attributes.get("of").copied().unwrap_or_default().into(),
            sha256: block.attributes.get("sha256").map(|&digest| digest.into()),
            garbage: block.attributes.contains_key("padding"),
        };
        assert!(all.insert(name, vector).is_none(), "two vectors are called {name}");
    }
    all
}

/// `len` bytes, of which `lines` give those that are not zero.
fn image(name: &str, len: usize, lines: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut end = 0;
    for line in lines {
        let (offset, listed) = line.split_once(':').expect(name);
        let offset = usize::from_str_radix(offset, 16).expect(name);
        assert!(offset >= end, "{name}: bytes are listed twice, or out of order");
        end = offset;
        for byte in listed.split_whitespace() {
            assert_eq!(byte.len(), 2, "{name}: {byte} is no byte");
            *bytes.get_mut(end).expect(name) = u8::from_str_radix(byte, 16).expect(name);
            end += 1;
        }
    }
    bytes
}

/// The handshakes, by name.
pub(crate) fn handshakes() -> BTreeMap<&'static str, Vec<Step>> {
    let step = |line: &'static str| {
        let mut words = line.split_whitespace();
        let by_client = match words.next() {
            Some("C") => true,
            Some("S") => false,
            other => panic!("{other:?} sends nothing"),
        };
        Step { by_client, vector: words.next().expect(line) }
    };
    let steps = |block: Block| {
        (block.attributes["name"], block.lines.iter().map(|&line| step(line)).collect())
    };
    blocks("handshake").into_iter().map(steps).collect()
}

/// The cells of the first table below a heading, without its head; code marks are dropped.
#[track_caller]
pub(crate) fn table(heading: &str) -> Vec<Vec<String>> {
    let start = TEXT
        .lines()
        .position(|line| line.starts_with('#') && line.trim_start_matches('#').trim() == heading);
    let below = TEXT.lines().skip(start.expect(heading) + 1);
    let section = below.take_while(|line| !line.starts_with('#'));
    let rows = section.skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let inner = row.trim().trim_matches('|');
        inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    rows.map(cells).collect()
}

/// The names by which headings can be linked to.
pub(crate) fn anchors() -> BTreeSet<String> {
    let outside = TEXT.split("\n```").step_by(2).flat_map(str::lines);
    let headings = outside.filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A size or a place as the document writes it.
#[track_caller]
pub(crate) fn size(text: &str) -> usize {
    usize::try_from(number(text)).unwrap()
}

/// A number as the document writes it.
#[track_caller]
pub(crate) fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).expect(text),
        None => text.parse().expect(text),
    }
}
