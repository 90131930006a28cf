//! [`crate::vhost_state`].
//!
//! Header: a byte whose lowest bit says whether a state or a command follows, as it travels.

use ringport_vhost_user::device::state::SavedState;
use ringport_vhost_user::wire::Command;

pub(crate) fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    if kind & 1 == 0 {
        check_state(bytes);
    } else if let Some(command) = Command::decode(bytes) {
        assert_eq!(command.encode(), bytes, "{command:?}");
    }
}

fn check_state(bytes: &[u8]) {
    let state = match SavedState::decode(bytes) {
        Ok(state) => state,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let again = SavedState::decode(&state.encode());
    assert_eq!(again, Ok(state.clone()), "it means the same");
    let filter = &state.filter;
    assert!(filter.unicast.len() <= 256 && filter.multicast.len() <= 256);
    assert!(filter.unicast.iter().chain(&filter.mac).all(|mac| mac[0] & 1 == 0 && *mac != [0; 6]));
    assert!(filter.multicast.iter().all(|group| group[0] & 1 == 1));
    assert!(state.status < 4 && state.queue_pairs != Some(0));
    // Each byte of it counts, or is in a section that may be passed over.
    if state.encode().len() == bytes.len() {
        let longer = [bytes, &[0]].concat();
        assert!(SavedState::decode(&longer).is_err());
        assert!(SavedState::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
