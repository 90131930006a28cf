//! As much of Kubernetes' protocol buffers as a client's new annotations of a pod need: Multus puts the
//! status back in them, not in JSON.
//!
//! `k8s\0`, then `Unknown { raw = 2 }`; in that `Pod { metadata = 1 }`, in that
//! `ObjectMeta { annotations = 12 }`, entries of `{ key = 1, value = 2 }`.

use std::collections::BTreeMap;

const MAGIC: &[u8] = b"k8s\0";

/// The annotations of a pod. `None`: these bytes are no pod.
pub(crate) fn annotations(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let unknown = body.strip_prefix(MAGIC)?;
    let pod = fields(unknown, 2)?.pop()?;
    let metadata = fields(pod, 1)?.pop()?;
    let text = |entry, number| {
        let bytes = fields(entry, number)?.pop().unwrap_or_default();
        String::from_utf8(bytes.to_vec()).ok()
    };
    let entries = fields(metadata, 12)?.into_iter();
    entries.map(|entry| Some((text(entry, 1)?, text(entry, 2)?))).collect()
}

/// The values of a field that are strings of bytes.
fn fields(mut message: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => drop(varint(&mut message)?),
            1 => message = message.get(8..)?,
            2 => {
                let len = usize::try_from(varint(&mut message)?).ok()?;
                let (value, rest) = message.split_at_checked(len)?;
                if tag >> 3 == wanted {
                    found.push(value);
                }
                message = rest;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..10 {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(at * 7)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
