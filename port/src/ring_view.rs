//! A ring as people look at it.

/// What a ring's shared words say at a moment. For diagnosis only: each word is read once, by itself,
/// and the peer may write all of them at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingView {
    /// How the ring is laid out: `memif`, `split` or `packed`.
    pub layout: &'static str,
    /// Slots, or descriptors.
    pub size: u16,
    /// Names of the words, as the specification has them, and what they hold. `next` is not shared: it
    /// is the position that this side works at.
    pub words: Vec<(&'static str, u16)>,
}
