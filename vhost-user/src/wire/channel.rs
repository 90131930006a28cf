//! The second socket, on which a back-end asks and the front-end answers.

use super::field::{Reader, Writer};
use super::{FrameError, HEADER_LEN, Header, VringFd};

/// A request of the back-end, numbered as on the wire.
///
/// Spec: vhost-user "Back-end message types".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ChannelRequest {
    /// The configuration space changed.
    ConfigChange = 2,
    /// A page to which the guest writes its kicks.
    VringHostNotifier = 3,
    /// A call as a message.
    VringCall = 4,
    /// A ring broke.
    VringErr = 5,
}

/// One request of the back-end. A wait for its answer must not hold up the first socket: the
/// front-end may be waiting there.
///
/// Spec: vhost-user "Back-end message types".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelMessage {
    /// The configuration space changed: read it again.
    ConfigChange,
    /// A page to which the guest writes its kicks, 24 bytes: ring 0:8, size 8:8, offset 16:8.
    VringHostNotifier {
        /// The ring, and whether a page is taken away (no descriptor) or given.
        ring: VringFd,
        /// Length, in bytes.
        size: u64,
        /// Start in the file, in bytes.
        offset: u64,
    },
    /// A call as a message, 8 bytes: index 0:4, zero 4:4.
    VringCall {
        /// The ring.
        index: u32,
    },
    /// A ring broke, 8 bytes: index 0:4, zero 4:4.
    VringErr {
        /// The ring.
        index: u32,
    },
}

impl ChannelRequest {
    /// Reads a number; `None` when it means nothing here.
    #[must_use]
    pub fn from_wire(number: u32) -> Option<Self> {
        let all = [Self::ConfigChange, Self::VringHostNotifier, Self::VringCall, Self::VringErr];
        all.into_iter().find(|request| *request as u32 == number)
    }
}

impl ChannelMessage {
    /// Writes the whole message, header included.
    #[must_use]
    pub fn encode(&self, need_reply: bool) -> Vec<u8> {
        let mut fields = Writer::default();
        match self {
            Self::ConfigChange => {}
            Self::VringHostNotifier { ring, size, offset } => {
                ring.write(&mut fields);
                fields.u64(*size);
                fields.u64(*offset);
            }
            Self::VringCall { index } | Self::VringErr { index } => {
                fields.u32(*index);
                fields.u32(0);
            }
        }
        let header = Header::of_request(self.request() as u32, need_reply);
        header.frame(&fields.into_payload())
    }

    /// The kind of request.
    #[must_use]
    pub fn request(&self) -> ChannelRequest {
        match self {
            Self::ConfigChange => ChannelRequest::ConfigChange,
            Self::VringHostNotifier { .. } => ChannelRequest::VringHostNotifier,
            Self::VringCall { .. } => ChannelRequest::VringCall,
            Self::VringErr { .. } => ChannelRequest::VringErr,
        }
    }
}

/// Writes a front-end's answer: whether it did what was asked.
#[must_use]
pub fn encode_channel_ack(request: u32, done: bool) -> Vec<u8> {
    Header::of_reply(request).frame(&u64::from(!done).to_ne_bytes())
}

/// Reads a front-end's answer, which is 20 bytes long: the number of the request and whether the
/// front-end did what was asked. `None` when it is not an answer of that form.
///
/// # Errors
/// [`FrameError`].
pub fn decode_channel_ack(bytes: &[u8]) -> Result<Option<(u32, bool)>, FrameError> {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let header = Header::decode(header)?;
    let fits = header.reply && header.size == 8 && payload.len() == 8;
    Ok(fits.then(|| (header.request, Reader::new(payload).u64() == 0)))
}
