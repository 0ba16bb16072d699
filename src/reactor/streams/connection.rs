//! The streams of one connection.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::numbers::Numbers;
use super::stream::Stream;
use super::upload::Upload;
use super::uploads::Share;

/// A connection that stands.
pub(super) struct Connection {
    /// The lowest bit of the numbers of the streams that the peer opens.
    theirs: u64,
    /// Which of them were seen: those both ways, those one way.
    seen: [Numbers; 2],
    pub(super) streams: HashMap<u64, Stream>,
    /// Streams with something to write.
    pub(super) writing: BTreeSet<u64>,
    /// Bytes of frames that are incomplete or with a worker.
    pub(super) frame_bytes: usize,
    /// Its part in what goes out.
    pub(super) share: Share,
}

impl Connection {
    pub(super) fn new(dialled: bool, now: Instant) -> Self {
        Self {
            // RFC 9000, section 2.1: who accepted the connection opens the odd ones.
            theirs: u64::from(dialled),
            seen: <[Numbers; 2]>::default(),
            streams: HashMap::new(),
            writing: BTreeSet::new(),
            frame_bytes: 0,
            share: Share::new(now),
        }
    }

    /// Whether the peer has just opened this stream.
    pub(super) fn is_new(&mut self, stream: u64) -> bool {
        let [both_ways, one_way] = &mut self.seen;
        let seen = if stream & 2 == 0 { both_ways } else { one_way };
        stream & 1 == self.theirs && seen.is_new(stream)
    }

    /// Runs that go out, oldest first.
    pub(super) fn uploads(&self) -> impl Iterator<Item = &Upload> {
        let streams = self.share.sends().filter_map(|number| self.streams.get(&number));
        streams.filter_map(|stream| stream.kind.inbound()?.upload())
    }

    /// Bytes of answers that wait for the peer to take them.
    pub(super) fn answers_left(&self) -> usize {
        self.streams.values().filter_map(|stream| stream.kind.inbound()).map(|inbound| inbound.answer_left()).sum()
    }
}
