//! Everything that may wait for a disk or take long, away from the reactor: a bounded pool of threads, recycled
//! buffers, downloads on their way to the disk, games on their way to others.
//!
//! The reactor submits a [`Task`] and later fetches its [`TaskDone`]; it holds a [`PooledBuf`] for every batch that is
//! under way, and asks for no more bytes than it has buffers for. That is all the backpressure there is.

mod buffers;
mod diagnose;
mod handles;
mod jobs;
mod landing;
mod local;
mod pool;
mod programs;
mod serve;
mod task;
#[cfg(test)]
mod tests;

pub use buffers::{BufferAccount, BufferPool, PooledBuf};
pub use landing::{Landed, Landing, Watch};
pub use pool::{Wake, Workers};
pub use serve::ServedGame;
pub use task::{Compute, OpenServed, Opened, ReadBatch, ReadChunks, ReadDone, Task, TaskDone, WriteBatch, Written};
