//! Commands, whatever they say.

use super::*;
use crate::virtqueue::command_ring;
use crate::wire::COMMAND_MAX;
use std::sync::Arc;

for_both_layouts! {
    longest_command_is_handed_over_whole_and_a_longer_one_is_refused_unseen
}

fn longest_command_is_handed_over_whole_and_a_longer_one_is_refused_unseen<P: Peer>() {
    let mut peer = P::new();
    let (link, wake) = (Arc::clone(&peer.ends().link), Arc::clone(&peer.ends().wake));
    let (mut queue, mut control) = command_ring(link, wake).unwrap();
    control.start(Arc::clone(peer.guest()), peer.start()).unwrap();
    for (len, answer) in [(1, 0), (COMMAND_MAX, 0), (COMMAND_MAX + 1, 1)] {
        let asked = vec![7; len];
        peer.command(&asked);
        let mut heard = None;
        let handle = |bytes: &[u8]| heard.replace(bytes.to_vec()).is_none();
        queue.serve(8, handle).unwrap();
        assert_eq!(heard, (answer == 0).then_some(asked));
        assert_eq!(peer.answers(), [answer]);
    }
    let stats = queue.stats();
    assert_eq!((stats.done, stats.refused, stats.malformed), (2, 1, 0));
}
