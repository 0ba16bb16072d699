//! What must work, end to end: real daemons, real sockets, own directories, most of it on a virtual LAN. The daemon is the
//! binary that `LANSPREAD_BIN` names, else the one of the test profile.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]

#[path = "../archive_support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the unpacker alone")]
mod archive_support;
#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod archives;
mod arriving;
mod bad_paths;
mod counts;
mod dirs;
mod discovery;
mod doctor;
mod download;
mod gone;
mod guard;
mod harness;
mod library;
mod limits;
mod local;
mod ownership;
mod packing;
mod page;
mod party;
mod recovery;
mod reuse;
mod rights;
mod serving;
mod sources;
mod start;
mod swarm;
mod twins;
mod wake;
mod wire;
