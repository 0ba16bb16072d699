//! Rounds of downloads from `lanspread bench serve`: each goes the way of every download, from the source's files over the
//! real protocol into verified, durable files, and is removed again.

use std::time::Instant;

use crossbeam_channel::Receiver;
use serde_json::{Value, json};

use super::game::{self, Place, Scratch};
use super::node::Node;
use super::report::{self, Account, Side};
use super::serve::Served;
use super::{BenchArgs, BenchError, MAX_ROUNDS, MIN_ROUNDS, spread};
use crate::api::{CommandData, PeerCommand, PeerEvent};
use crate::types::GameId;

/// Where the files of both sides lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// In memory: the network and the processor.
    Net,
    /// On a disk: everything.
    Disk,
}

pub(super) fn measure(args: &BenchArgs, kind: Kind, interrupt: &Receiver<()>) -> Result<Value, BenchError> {
    let place = if kind == Kind::Net { Place::Memory } else { Place::Disk };
    let copies = if args.peer.is_some() { 1 } else { 2 };
    let scratch = Scratch::make(args.dir.as_deref(), place, copies * args.size)?;
    let mut served = match &args.peer {
        Some(_) => None,
        None => Some(Served::start(scratch.dir.path(), args.size, interrupt)?),
    };
    let addr = args.peer.clone().or_else(|| served.as_ref().map(|served| served.addr.clone())).unwrap_or_default();
    let receiver = Node::start(&scratch, interrupt, |config| {
        if served.is_some() {
            config.listen = vec![([127, 0, 0, 1], 0).into()];
        }
    })?;
    receiver
        .event("it did not become ready", |event| matches!(event, PeerEvent::LocalPeerReady { .. }).then_some(()))?;
    let peer = match receiver.call(PeerCommand::Connect { addr: addr.clone() })? {
        CommandData::Connected(connected) => connected.peer_id,
        _ => return Err(BenchError::Step("connect was answered by something else".into())),
    };
    let missing = format!("{addr} has no game of the benchmark to offer: start `lanspread bench serve` there");
    let row = receiver.game(&missing, |row| row.content_hash.is_some() && row.sources.contains(&peer))?;

    let game = game::id()?;
    let mut rates = Vec::new();
    let mut account = Account::default();
    let (begun, patience) = (Instant::now(), args.patience());
    while rates.len() < MIN_ROUNDS || begun.elapsed() < patience && rates.len() < MAX_ROUNDS {
        let before = looks(&receiver, served.as_mut())?;
        let round = Instant::now();
        download(&receiver, &game)?;
        let seconds = round.elapsed().as_secs_f64().max(1e-9);
        let after = looks(&receiver, served.as_mut())?;
        account.add(row.size, seconds, &before, &after);
        rates.push(row.size as f64 / (1 << 20) as f64 / seconds);
        remove(&receiver, &game)?;
    }
    let in_memory = scratch.in_memory && served.as_ref().is_none_or(|served| served.in_memory);
    let mut found = json!({
        "bytes": row.size,
        "rounds": rates.len(),
        "mib_per_s": spread(&rates),
        "in_memory": in_memory,
        "peer": args.peer,
    });
    report::fill(&mut found, &account, served.is_some());
    Ok(found)
}

/// The counters of both sides; the sending side's only when it runs here.
fn looks(receiver: &Node, served: Option<&mut Served>) -> Result<(Side, Option<Side>), BenchError> {
    let metrics = serde_json::to_value(receiver.metrics()?).map_err(|error| BenchError::Step(error.to_string()))?;
    let sender = served.map(Served::metrics).transpose()?;
    Ok((Side::read(&metrics), sender.as_ref().map(Side::read)))
}

fn download(receiver: &Node, game: &GameId) -> Result<(), BenchError> {
    receiver.call(PeerCommand::Download { game: game.clone(), install: false, again: false })?;
    let over = receiver.event("the download", |event| match event {
        PeerEvent::DownloadFinished { resumed_bytes, .. } => Some(Ok(resumed_bytes)),
        PeerEvent::DownloadFailed { message, .. } => Some(Err(message)),
        _ => None,
    })?;
    match over {
        Ok(0) => Ok(()),
        Ok(kept) => Err(BenchError::Step(format!("{kept} bytes were here already, and not moved"))),
        Err(message) => Err(BenchError::Step(format!("the download failed: {message}"))),
    }
}

fn remove(receiver: &Node, game: &GameId) -> Result<(), BenchError> {
    receiver.game("the download was not listed", |row| row.downloaded && row.operation.is_none())?;
    receiver.call(PeerCommand::Remove { game: game.clone() })?;
    let removed = receiver.event("the removal", |event| match event {
        PeerEvent::RemoveFinished { .. } => Some(Ok(())),
        PeerEvent::RemoveFailed { message, .. } => Some(Err(message)),
        _ => None,
    })?;
    removed.map_err(|message| BenchError::Step(format!("the removal failed: {message}")))?;
    receiver.game("the source was lost", |row| !row.downloaded && !row.sources.is_empty()).map(drop)
}
