//! What the descriptors in a driver's epoll set are.

/// The descriptors that belong to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Listener,
    Socket(u64),
    Wake(u64),
}

impl Token {
    pub(super) fn encode(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Socket(key) => key << 1,
            Self::Wake(key) => (key << 1) | 1,
        }
    }

    pub(super) fn decode(token: u64) -> Self {
        match (token >> 1, token & 1) {
            (0, _) => Self::Listener,
            (key, 0) => Self::Socket(key),
            (key, _) => Self::Wake(key),
        }
    }
}
