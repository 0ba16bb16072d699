//! The library in a program: starts a peer, finds the others by multicast, and downloads one game.
//!
//! ```text
//! cargo run --example embed -- DIR               what there is to download, after five seconds of looking around
//! cargo run --example embed -- DIR GAME [PEER…]  downloads GAME; PEER is HOST:PORT where multicast does not get through
//! ```
//!
//! Games land in `DIR/games`, the peer's identity in `DIR/state`.
#![allow(clippy::disallowed_methods, reason = "an example makes its directory with a plain file call")]

use std::error::Error;
use std::path::Path;

use lanspread_peer::Peer;
use lanspread_peer::api::{CommandData, PeerCommand, PeerEvent};
use lanspread_peer::config::Config;
use lanspread_peer::types::GameId;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else { return Err("embed DIR [GAME [PEER…]]".into()) };
    // `parse` refuses what cannot be a game's folder.
    let game: Option<GameId> = args.next().map(|id| id.parse()).transpose()?;

    // Everything but these two directories has a default; the fields of `Config` are what `lanspread run` has flags for.
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir.join("games"))?;
    let mut config = Config::new(dir.join("games"), dir.join("state"));
    config.static_peers = args.collect();

    // From here on the peer runs on threads of its own, until it is told to stop.
    let peer = Peer::start(config)?;
    let done = look_around(&peer, game.as_ref());
    // Says goodbye to the others. A peer that was merely dropped would run on.
    let _ = peer.commands().call(PeerCommand::Shutdown);
    peer.join();
    // Why it could not begin, if that is so: `DIR/games` is in use by another daemon, say.
    if let Some(why) = peer.failure() {
        return Err(why.into());
    }
    done
}

fn look_around(peer: &Peer, game: Option<&GameId>) -> Result<(), Box<dyn Error>> {
    // A command has one answer: `call` waits for it, `send` takes a function that is called with it.
    // The outer error: the peer has stopped. The inner one: the command is refused, with a stable code.
    let commands = peer.commands();
    // Somebody may be there who has the game, or nobody yet.
    let waited = commands.call(PeerCommand::WaitPeers { count: 1, timeout_ms: 5_000 })?;
    println!("this is {}; {}", peer.peer_id(), if waited.is_ok() { "it is not alone" } else { "nobody is there" });

    let Some(game) = game else {
        let CommandData::Games(list) = commands.call(PeerCommand::ListGames)?? else { return Ok(()) };
        for row in list.games {
            println!("{:30} {:>14} bytes at {} PCs", row.id.as_str(), row.size, row.sources.len());
        }
        return Ok(());
    };
    commands.call(PeerCommand::Download { game: game.clone(), install: false, again: false })??;
    follow(peer, game)
}

/// Prints how far the download is, until it has ended.
fn follow(peer: &Peer, game: &GameId) -> Result<(), Box<dyn Error>> {
    // Events of everything come here in one queue; it ends when the peer has stopped.
    for event in peer.events() {
        match event {
            PeerEvent::DownloadProgress { game: of, bytes, total, bytes_per_second, .. } if of == *game => {
                println!("{bytes} of {total} bytes, {} MB/s", bytes_per_second / 1_000_000);
            }
            PeerEvent::DownloadFinished { game: of, bytes, mib_per_s, .. } if of == *game => {
                println!("{of} is here: {bytes} bytes, {mib_per_s:.0} MiB/s");
                return Ok(());
            }
            PeerEvent::DownloadFailed { game: of, code, message, .. } if of == *game => {
                return Err(format!("{of}: {code:?}: {message}").into());
            }
            PeerEvent::PeerConnected { addr, hostname, .. } => {
                println!("{} is there, at {addr}", hostname.as_deref().unwrap_or("somebody"));
            }
            _ => {}
        }
    }
    Err("the peer stopped by itself".into())
}
