//! A set of chunks of one game, one bit each.

use std::ops::Range;

use crate::types::ChunkRange;

/// See the module. Chunks that the game does not have are never in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ChunkSet {
    words: Vec<u64>,
    chunks: u32,
}

impl ChunkSet {
    /// The empty set of a game with so many chunks.
    pub(super) fn new(chunks: u32) -> Self {
        Self { words: vec![0; (chunks as usize).div_ceil(64)], chunks }
    }

    /// Whether a chunk is in it.
    pub(super) fn has(&self, chunk: u32) -> bool {
        self.words.get(chunk as usize / 64).is_some_and(|word| word >> (chunk % 64) & 1 == 1)
    }

    /// Whether all of these are.
    pub(super) fn has_all(&self, range: ChunkRange) -> bool {
        range.iter().all(|index| self.has(index.0))
    }

    /// Puts chunks in, and tells which of them were not there.
    pub(super) fn insert(&mut self, range: ChunkRange, mut is_new: impl FnMut(u32)) {
        for index in range.iter().take_while(|index| index.0 < self.chunks) {
            if let Some(word) = self.words.get_mut(index.0 as usize / 64) {
                let bit = 1 << (index.0 % 64);
                if *word & bit == 0 {
                    *word |= bit;
                    is_new(index.0);
                }
            }
        }
    }

    /// The first chunk of a range that is in it.
    pub(super) fn first_in(&self, range: Range<u32>) -> Option<u32> {
        let mut at = range.start;
        while at < range.end {
            let word = self.words.get(at as usize / 64)? >> (at % 64);
            if word != 0 {
                let chunk = at + word.trailing_zeros();
                return (chunk < range.end).then_some(chunk);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// Every chunk in ascending order.
    pub(super) fn for_each(&self, mut f: impl FnMut(u32)) {
        let mut at = 0;
        while let Some(chunk) = self.first_in(at..self.chunks) {
            f(chunk);
            at = chunk + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_up_to_its_last_chunk() {
        let mut set = ChunkSet::new(130);
        let mut new = Vec::new();
        set.insert(ChunkRange { first: 60, count: 8 }, |chunk| new.push(chunk));
        set.insert(ChunkRange { first: 64, count: 66 }, |chunk| new.push(chunk));
        set.insert(ChunkRange { first: 129, count: 9 }, |chunk| new.push(chunk));
        assert_eq!(new, (60..130).collect::<Vec<_>>(), "each once, none beyond the end");
        let mut all = Vec::new();
        set.for_each(|chunk| all.push(chunk));
        assert_eq!(all, new);
        assert!(set.has(60) && set.has(129) && !set.has(59) && !set.has(130) && !set.has(u32::MAX));
        assert!(set.has_all(ChunkRange { first: 63, count: 67 }) && !set.has_all(ChunkRange { first: 59, count: 2 }));
        assert_eq!(set.first_in(0..130), Some(60));
        assert_eq!(set.first_in(0..60), None);
        assert_eq!(set.first_in(61..62), Some(61));
        assert_eq!(set.first_in(128..u32::MAX), Some(128));
        assert_eq!(ChunkSet::new(0).first_in(0..1), None);
    }
}
