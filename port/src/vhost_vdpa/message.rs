//! IOTLB messages, as they are written to the file: `struct vhost_msg_v2`.

/// Bytes of each message: a head, and a union padded to 64.
pub(super) const LEN: usize = 72;

/// `VHOST_IOTLB_MSG_V2`.
const V2: u32 = 2;
/// `VHOST_ACCESS_RW`.
const READ_WRITE: u8 = 3;

/// What a message says of one address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IotlbMessage {
    /// The device may use `len` bytes from `iova` on, which are ours from `address` on.
    Update {
        iova: u64,
        len: u64,
        address: u64,
    },
    /// It may no more.
    Invalidate {
        iova: u64,
        len: u64,
    },
    /// What follows may take effect at the end of the batch.
    BatchBegin,
    BatchEnd,
}

impl IotlbMessage {
    /// | bytes | field |
    /// |---|---|
    /// | 0..4 | version of messages, 2 |
    /// | 4..8 | address space |
    /// | 8..16, 16..24, 24..32 | IOVA, length, our address |
    /// | 32, 33 | access, type |
    pub(super) fn encode(self, space: u32) -> [u8; LEN] {
        let (kind, access, words): (u8, u8, [u64; 3]) = match self {
            Self::Update { iova, len, address } => (2, READ_WRITE, [iova, len, address]),
            Self::Invalidate { iova, len } => (3, 0, [iova, len, 0]),
            Self::BatchBegin => (5, 0, [0; 3]),
            Self::BatchEnd => (6, 0, [0; 3]),
        };
        let mut bytes = [0; LEN];
        bytes[0..4].copy_from_slice(&V2.to_ne_bytes());
        bytes[4..8].copy_from_slice(&space.to_ne_bytes());
        for (field, word) in bytes[8..32].chunks_exact_mut(8).zip(words) {
            field.copy_from_slice(&word.to_ne_bytes());
        }
        [bytes[32], bytes[33]] = [access, kind];
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own definition.
    #[repr(C)]
    struct VhostMsgV2 {
        kind: u32,
        space: u32,
        iotlb: Iotlb,
    }

    #[repr(C)]
    union Iotlb {
        message: IotlbFields,
        padding: [u8; 64],
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct IotlbFields {
        iova: u64,
        size: u64,
        uaddr: u64,
        perm: u8,
        kind: u8,
    }

    #[test]
    fn fields_are_where_the_kernel_looks_for_them() {
        use std::mem::offset_of;
        assert_eq!(size_of::<VhostMsgV2>(), LEN);
        let fields = offset_of!(VhostMsgV2, iotlb);
        assert_eq!(offset_of!(VhostMsgV2, space), 4);
        let update = IotlbMessage::Update { iova: 0x1_0000_0000, len: 0x2000, address: 0x7f00 };
        let bytes = update.encode(1);
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(bytes[..4], 2_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 1_u32.to_ne_bytes());
        assert_eq!(word(fields + offset_of!(IotlbFields, iova)), 0x1_0000_0000);
        assert_eq!(word(fields + offset_of!(IotlbFields, size)), 0x2000);
        assert_eq!(word(fields + offset_of!(IotlbFields, uaddr)), 0x7f00);
        assert_eq!(bytes[fields + offset_of!(IotlbFields, perm)], 3);
        assert_eq!(bytes[fields + offset_of!(IotlbFields, kind)], 2);
        assert!(bytes[34..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn other_messages_have_their_type_and_name_no_memory_of_ours() {
        let invalidate = IotlbMessage::Invalidate { iova: 5 << 12, len: 4096 }.encode(0);
        assert_eq!(invalidate[8..16], (5_u64 << 12).to_ne_bytes());
        assert_eq!(invalidate[16..24], 4096_u64.to_ne_bytes());
        assert_eq!(invalidate[24..34], [0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        for (message, kind) in [(IotlbMessage::BatchBegin, 5), (IotlbMessage::BatchEnd, 6)] {
            let bytes = message.encode(3);
            assert_eq!((bytes[4], bytes[33]), (3, kind));
            assert!(bytes[8..33].iter().all(|&byte| byte == 0));
        }
    }
}
