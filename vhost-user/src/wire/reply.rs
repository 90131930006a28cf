//! What a back-end answers.

use super::field::{Reader, Writer};
use super::payload::{check_len, read_config};
use super::{ConfigSpan, Header, Inflight, LogArea, Request, VringState, WireError};

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
    /// SET_LOG_BASE: what was asked, as some back-ends say.
    Log(LogArea),
    /// GET_CONFIG that failed, or SET_LOG_BASE.
    Empty,
}

impl Reply {
    /// Reads the payload of the reply to a request: what the request itself is answered with, or else
    /// an acknowledgement.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(request: Request, payload: &[u8]) -> Result<Self, WireError> {
        use Request as R;
        let exactly = |expected| check_len(request, payload, expected);
        let mut fields = Reader::new(payload);
        Ok(match request {
            R::GetVringBase => {
                exactly(VringState::LEN)?;
                Self::VringState(VringState::read(&mut fields))
            }
            // Nothing, a number that means nothing, or what was asked.
            R::SetLogBase if payload.is_empty() => Self::Empty,
            R::SetLogBase if payload.len() == LogArea::LEN => Self::Log(LogArea::read(&mut fields)),
            R::GetConfig if payload.is_empty() => Self::Empty,
            R::GetConfig => {
                let (span, contents) = read_config(request, payload)?;
                Self::Config(span, contents.to_vec())
            }
            R::GetInflightFd => {
                let padded = payload.len() == Inflight::PADDED_LEN;
                exactly(if padded { Inflight::PADDED_LEN } else { Inflight::LEN })?;
                Self::Inflight(Inflight::read(&mut fields, padded))
            }
            _ => {
                exactly(8)?;
                Self::Number(fields.u64())
            }
        })
    }

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
            Self::Log(area) => area.write(&mut fields),
            Self::Empty => {}
        }
        Header::of_reply(request).frame(&fields.into_payload())
    }
}
