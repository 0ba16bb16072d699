//! Which streams of one kind the peer has opened so far. A stream that is over must not be taken for a new one when its
//! last bytes come late.

use std::collections::BTreeSet;

/// Numbers of streams, opened in any order. Holds only those that were skipped: the transport's limit on open streams
/// bounds them.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// One past the highest that was seen.
    next: u64,
    skipped: BTreeSet<u64>,
}

impl Numbers {
    /// Takes note of a stream; whether it is seen for the first time.
    pub(super) fn is_new(&mut self, stream: u64) -> bool {
        // RFC 9000, section 2.1: the two lowest bits are the kind.
        let index = stream >> 2;
        if index < self.next {
            return self.skipped.remove(&index);
        }
        self.skipped.extend(self.next..index);
        self.next = index + 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_new_once_in_whatever_order_they_come() {
        let mut numbers = Numbers::default();
        let order = [0, 12, 4, 16, 8];
        assert!(order.iter().all(|&stream| numbers.is_new(stream)));
        assert!(!order.iter().any(|&stream| numbers.is_new(stream)));
        assert!(numbers.skipped.is_empty(), "what was seen costs nothing");
        assert!(numbers.is_new(20));
    }
}
