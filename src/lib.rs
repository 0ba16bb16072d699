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
//! yields [`api::PeerEvent`]s. The program `lanspread` offers the same over JSON lines and HTTP.
//!
//! ```no_run
//! use lanspread_peer::Peer;
//! use lanspread_peer::api::{PeerCommand, PeerEvent};
//! use lanspread_peer::config::Config;
//!
//! let peer = Peer::start(Config::new("games".into(), "state".into()))?;
//! let commands = peer.commands();
//! commands.call(PeerCommand::WaitPeers { count: 1, timeout_ms: 10_000 })??;
//! commands.call(PeerCommand::Download { game: "doom".parse()?, install: true, again: false })??;
//! for event in peer.events() {
//!     match event {
//!         PeerEvent::DownloadProgress { bytes, total, .. } => println!("{bytes} of {total} bytes"),
//!         PeerEvent::DownloadFailed { message, .. } | PeerEvent::InstallFailed { message, .. } => return Err(message.into()),
//!         PeerEvent::InstallFinished { .. } => break,
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/embed.rs` is a whole program. To stop a peer send [`api::PeerCommand::Shutdown`], then [`Peer::join`]; dropping it
//! does not stop it. A peer on this PC alone, without multicast:
//!
//! ```
//! # use lanspread_peer::{Peer, api::{CommandData, PeerCommand}, config::Config};
//! # let dir = tempfile::tempdir()?;
//! # std::fs::create_dir(dir.path().join("games"))?;
//! let mut config = Config::new(dir.path().join("games"), dir.path().join("state"));
//! config.listen = vec![([127, 0, 0, 1], 0).into()];
//! config.mdns = false;
//! let peer = Peer::start(config)?;
//! let CommandData::Status(status) = peer.commands().call(PeerCommand::Status)?? else { unreachable!() };
//! assert_eq!((status.peer_id, status.peers_connected), (peer.peer_id(), 0));
//! peer.commands().call(PeerCommand::Shutdown)??;
//! peer.join();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
mod small_file;
mod sys;
mod web;

pub use peer::{CommandSender, Peer, Stopped};
pub use reactor::StartError;
pub use sys::give_memory_back;
