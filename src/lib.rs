//! lanspread: a headless LAN game-distribution daemon.
//!
//! It finds the other PCs of a LAN by mDNS, keeps everybody's list of games in step, and moves games between them over
//! QUIC, every chunk verified and everything durable before it counts.
//!
//! # Threads
//!
//! One reactor thread ([`reactor`]) owns all state. It drives QUIC by hand on mio ([`quic`]) and a pure, deterministic
//! [`engine`] that decides everything. Workers ([`workers`]) read, hash, write and scan; one thread each serves mDNS
//! ([`discovery`]) and file events ([`index`]). Threads exchange messages over bounded queues; there is no shared
//! mutable state and no async runtime.
//!
//! # Use
//!
//! [`Peer::start`] starts a daemon in this process; [`Peer::commands`] takes [`api::PeerCommand`]s, [`Peer::events`]
//! yields [`api::PeerEvent`]s. The program `lanspread` offers the same over JSON lines.

pub mod api;
pub mod catalog;
pub mod config;
pub mod control;
pub mod discovery;
pub mod engine;
pub mod fs;
pub mod identity;
pub mod index;
pub mod install;
pub mod mirror;
pub mod proto;
pub mod quic;
pub mod reactor;
pub mod tools;
pub mod types;
pub mod workers;

mod aligned;
mod faults;
mod peer;
mod queue;
mod sys;
mod web;

pub use peer::{CommandSender, Peer, Stopped};
pub use reactor::StartError;
pub use sys::give_memory_back;
