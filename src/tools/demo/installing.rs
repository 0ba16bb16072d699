//! The part of the demo about `local/`: a game is installed from its archive, updated, uninstalled.

use std::path::Path;
use std::time::Instant;

use crossbeam_channel::Receiver;
use serde_json::{Value, json};

use crate::control::human::size;

use super::daemon::Daemon;
use super::library::{self, Sample};
use super::show::{Meter, say};
use super::{ANSWER, DemoError, HASHED, follow, is_interrupted};

/// `b` installs `game`, gets the next version from `a`, uninstalls.
pub(super) fn show(
    a: &mut Daemon,
    b: &mut Daemon,
    game: &Sample,
    games_of_a: &Path,
    games_of_b: &Path,
    interrupt: &Receiver<()>,
) -> Result<(), DemoError> {
    say(format!("6. b installs {}: its archive is unpacked by a process that may write nowhere else.", game.id));
    install(b, game, games_of_b, interrupt)?;

    say(format!("7. a gets version {} of it; b fetches that and updates.", library::NEXT_VERSION));
    let next = library::create_packed(games_of_a, true)?;
    fetch(a, b, &next)?;
    library::verify_installed(games_of_b, game, &mut |_| !is_interrupted(interrupt))?;
    say("   The new version is here; the old installation is still what it was.");
    install(b, &next, games_of_b, interrupt)?;

    say("8. b uninstalls it.");
    run(b, &next, "uninstall")?;
    if games_of_b.join(next.id.as_str()).join("local").exists() {
        return Err(DemoError::Step(format!("{} was uninstalled, and local/ is still there", next.id)));
    }
    library::verify(games_of_b, &next, &mut |_| !is_interrupted(interrupt))?;
    say("   The installation is gone; the downloaded files are as they were.");
    Ok(())
}

/// Installs or updates, and compares what is installed with what was packed.
fn install(b: &mut Daemon, game: &Sample, games: &Path, interrupt: &Receiver<()>) -> Result<(), DemoError> {
    let begun = Instant::now();
    run(b, game, "install")?;
    let seconds = begun.elapsed().as_secs_f64();
    library::verify_installed(games, game, &mut |_| !is_interrupted(interrupt))?;
    let bytes = game.installed.values().map(|(_, size)| size).sum();
    let (count, bytes) = (game.installed.len(), size(bytes));
    say(format!(
        "   Version {} installed in {seconds:.2} s: {count} files, {bytes}, all as they were packed.",
        game.version
    ));
    Ok(())
}

fn run(b: &mut Daemon, game: &Sample, command: &str) -> Result<(), DemoError> {
    b.ask(json!({"cmd": command, "game": game.id}), ANSWER)?;
    follow(b, game, command, Meter::new("unpacking", game.bytes)).map(drop)
}

/// Waits until `a` offers this version and `b` has fetched it.
fn fetch(a: &mut Daemon, b: &mut Daemon, game: &Sample) -> Result<(), DemoError> {
    let deadline = Instant::now() + HASHED;
    while !is_here(a, game)? {
        let patience = deadline.saturating_duration_since(Instant::now());
        a.event("offer the new version", patience, |e| e["event"] == "local-library-changed")?;
    }
    while !is_here(b, game)? {
        let asked = b.ask(json!({"cmd": "fetch-latest", "game": game.id}), ANSWER).map_err(DemoError::from);
        let fetched = asked.and_then(|_| follow(b, game, "download", Meter::new("downloading", game.bytes)));
        match fetched {
            Ok(_) if Instant::now() < deadline => {}
            Ok(_) => return Err(DemoError::Step(format!("b did not get version {} of {}", game.version, game.id))),
            // Asked before a had told of it. It did, or will.
            Err(DemoError::Step(why)) => {
                let patience = deadline.saturating_duration_since(Instant::now());
                let news = b.event("hear of the new version", patience, |e| e["event"] == "peer-library-changed");
                news.map_err(|error| DemoError::Step(format!("{error}; before: {why}")))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the daemon has this version, hashed.
fn is_here(daemon: &mut Daemon, game: &Sample) -> Result<bool, DemoError> {
    let list = daemon.ask(json!({"cmd": "list-games"}), ANSWER)?;
    let rows = list["games"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |row: &&Value| row["id"].as_str() == Some(game.id.as_str());
    Ok(rows.iter().find(is).is_some_and(|row| {
        row["downloaded"] == true && row["version"] == game.version && row["content_hash"].is_string()
    }))
}
