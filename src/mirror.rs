//! Mirrors: games from static web servers. Documents, and the threads that fetch.
//!
//! ```text
//! engine ── what is asked ──▶ lane of the mirror ── HTTP ──▶ server
//!                              ├ documents (1 thread): index.json, manifest.json
//!                              └ runs (2 threads): range requests into landing buffers
//! engine ◀── what came of it ──┘
//! ```
//!
//! A mirror is one more source of a download, and trusted as little: its descriptions are held against the same rules as those of
//! a peer, its bytes against the same hashes.

mod document;
mod fetch;
mod lane;

pub use document::{
    DocumentError, INDEX_MARKER, MAX_MANIFEST_BYTES, MirrorGame, read_index, read_manifest, write_index, write_manifest,
};
pub use fetch::FetchFault;
pub use lane::{Done, ManifestFault, Mirrors, Run, THREADS, Wake};
