//! Asking another machine's kernel who has an address.
//!
//! Spec: RFC 826.

/// A question by `mac`, which has `own`, for who has `wanted`.
pub(crate) fn question(mac: [u8; 6], own: [u8; 4], wanted: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    // Type; Ethernet, IPv4, lengths of their addresses, a request.
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(own);
    frame.extend([0; 6]);
    frame.extend(wanted);
    frame.resize(60, 0);
    frame
}

/// Whether a frame says to `mac` that somebody has `wanted`.
pub(crate) fn is_answer(frame: &[u8], mac: [u8; 6], wanted: [u8; 4]) -> bool {
    frame.len() >= 42
        && frame[..6] == mac
        && frame[12..14] == [8, 6]
        && frame[20..22] == [0, 2]
        && frame[28..32] == wanted
}

/// Whether a frame asks who has `wanted`.
pub(crate) fn is_question(frame: &[u8], wanted: [u8; 4]) -> bool {
    frame.len() >= 42
        && frame[12..14] == [8, 6]
        && frame[20..22] == [0, 1]
        && frame[38..42] == wanted
}
