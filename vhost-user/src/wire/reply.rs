//! What a back-end answers.

use super::field::Writer;
use super::{ConfigSpan, Header, Inflight, VringState};

/// The payload of a reply.
///
/// Its header has the number of the request and the flags 5 (version 1, reply), nothing else.
///
/// Spec: vhost-user "Communication".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A number: features, counts, status; as an acknowledgement, 0 for success.
    Number(u64),
    /// GET_VRING_BASE: the ring and where it stopped.
    VringState(VringState),
    /// GET_CONFIG: the part asked for, and its contents.
    Config(ConfigSpan, Vec<u8>),
    /// GET_INFLIGHT_FD: the memory made; of size 0 when there is none.
    Inflight(Inflight),
    /// GET_CONFIG that failed.
    Empty,
}

impl Reply {
    /// Writes the whole message, header included.
    #[must_use]
    pub fn encode(&self, request: u32) -> Vec<u8> {
        let mut fields = Writer::default();
        match self {
            Self::Number(number) => fields.u64(*number),
            Self::VringState(state) => state.write(&mut fields),
            Self::Config(span, contents) => {
                span.write(&mut fields);
                fields.bytes(contents);
            }
            Self::Inflight(inflight) => inflight.write(&mut fields),
            Self::Empty => {}
        }
        Header::of_reply(request).frame(&fields.into_payload())
    }
}
