//! Recycled buffers for bulk bytes. Holding one is the right to have that many bytes under way: who has none waits.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::aligned::AlignedBytes;

/// At most `count` buffers of one size. Memory is taken when a buffer is first needed and given back by
/// [`trim`](Self::trim). Cheap to clone; clones share the buffers.
#[derive(Clone)]
pub struct BufferPool(Arc<Shared>);

struct Shared {
    idle_in: Sender<AlignedBytes>,
    idle_out: Receiver<AlignedBytes>,
    /// Buffers that exist, idle or in use.
    allocated: AtomicUsize,
    count: usize,
    len_bytes: usize,
}

impl BufferPool {
    /// `count` buffers of `len_bytes` bytes each; none is allocated yet.
    pub fn new(count: usize, len_bytes: usize) -> Self {
        let (idle_in, idle_out) = bounded(count);
        Self(Arc::new(Shared { idle_in, idle_out, allocated: AtomicUsize::new(0), count, len_bytes }))
    }

    /// A buffer with whatever was in it before; `None` when all are in use. Never blocks.
    pub fn take(&self) -> Option<PooledBuf> {
        self.take_with(None)
    }

    /// Like [`take`](Self::take), on somebody's account: for as long as the buffer is in use.
    pub fn take_for(&self, account: &BufferAccount) -> Option<PooledBuf> {
        self.take_with(Some(account.clone()))
    }

    fn take_with(&self, account: Option<BufferAccount>) -> Option<PooledBuf> {
        let shared = &self.0;
        let bytes = match shared.idle_out.try_recv() {
            Ok(bytes) => bytes,
            Err(_) => {
                let room = |n: usize| (n < shared.count).then_some(n + 1);
                shared.allocated.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
                AlignedBytes::zeroed(shared.len_bytes)
            }
        };
        Some(PooledBuf { bytes, pool: Arc::clone(shared), _account: account })
    }

    /// How many buffers are in use now.
    pub fn in_use(&self) -> usize {
        self.0.allocated.load(Ordering::Acquire).saturating_sub(self.0.idle_out.len())
    }

    /// How many buffers exist, idle or in use.
    pub fn allocated(&self) -> usize {
        self.0.allocated.load(Ordering::Acquire)
    }

    /// How many buffers there can be.
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// Gives the memory of idle buffers back to the system.
    pub fn trim(&self) {
        while self.0.idle_out.try_recv().is_ok() {
            self.0.allocated.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferPool({} of {} × {} bytes in use)", self.in_use(), self.count(), self.0.len_bytes)
    }
}

/// Counts the buffers that somebody has in use, wherever they are. Clones are one account.
#[derive(Clone, Debug, Default)]
pub struct BufferAccount(Arc<()>);

impl BufferAccount {
    /// How many buffers are in use on this account: with a single owner of the account, and no clones of it elsewhere.
    pub fn in_use(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A buffer of a [`BufferPool`]; goes back when dropped.
pub struct PooledBuf {
    bytes: AlignedBytes,
    pool: Arc<Shared>,
    /// Released with the buffer.
    _account: Option<BufferAccount>,
}

impl PooledBuf {
    /// The first `len` bytes (at most the buffer's length) as shared bytes, without a copy. The buffer goes back to
    /// its pool when the last clone or slice of them is dropped.
    pub fn into_bytes(self, len: usize) -> Bytes {
        let len = len.min(self.bytes.len());
        Bytes::from_owner(Filled { buf: self, len })
    }
}

impl Deref for PooledBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if self.pool.idle_in.try_send(bytes).is_err() {
            // Cannot happen: there is room for as many as can exist. Memory is freed all the same.
            self.pool.allocated.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PooledBuf({} bytes)", self.bytes.len())
    }
}

struct Filled {
    buf: PooledBuf,
    len: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_buffers_than_count() {
        let pool = BufferPool::new(2, 16);
        let one = pool.take().unwrap();
        let two = pool.take().unwrap();
        assert!(pool.take().is_none());
        drop(one);
        assert_eq!(pool.in_use(), 1);
        let three = pool.take().unwrap();
        assert!(pool.take().is_none());
        drop((two, three));
        pool.trim();
        assert_eq!((pool.in_use(), pool.0.allocated.load(Ordering::Acquire)), (0, 0));
        assert!(pool.take().is_some());
    }

    #[test]
    fn a_buffer_comes_back_with_the_last_slice_of_its_bytes() {
        let pool = BufferPool::new(1, 16);
        let mut buf = pool.take().unwrap();
        buf[..3].copy_from_slice(b"abc");
        let bytes = buf.into_bytes(3);
        let slice = bytes.slice(1..2);
        assert_eq!(&bytes[..], b"abc");
        drop(bytes);
        assert!(pool.take().is_none());
        assert_eq!(&slice[..], b"b");
        drop(slice);
        assert!(pool.take().is_some());
    }

    #[test]
    fn an_account_counts_until_the_last_slice_is_gone() {
        let (pool, account) = (BufferPool::new(3, 16), BufferAccount::default());
        let (one, two, other) = (pool.take_for(&account).unwrap(), pool.take_for(&account).unwrap(), pool.take());
        assert!(pool.take_for(&account).is_none());
        assert_eq!(account.in_use(), 2);
        let bytes = one.into_bytes(8);
        let slice = bytes.slice(..1);
        drop((bytes, two, other));
        assert_eq!(account.in_use(), 1);
        drop(slice);
        assert_eq!(account.in_use(), 0);
    }

    #[test]
    fn threads_that_take_and_return_at_once_stay_within_the_count() {
        let pool = BufferPool::new(3, 8);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let held = (pool.take(), pool.take());
                        assert!(pool.0.allocated.load(Ordering::Acquire) <= 3);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(pool.in_use(), 0);
        assert_eq!(std::iter::repeat_with(|| pool.take()).map_while(|b| b).collect::<Vec<_>>().len(), 3);
    }
}
