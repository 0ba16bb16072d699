//! `get-game`: the files of a game, asked of its sources one after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::{self, Rejection};
use super::select::content;
use super::select::rank::SourceRank;
use crate::api::{CommandData, CommandError, ErrorCode, GameFile, GameFiles, PeerEvent};
use crate::engine::core::Cx;
use crate::engine::io::{CommandId, ConnId, Output, RequestId, RunFailure};
use crate::engine::world::{TransferCx, Via};
use crate::faults::{self, Bug};
use crate::proto::Answer;
use crate::types::{ChunkHash, GameId, Packing, SourceId};

/// Look-ups under way at once; each holds at most one manifest.
const MAX_LOOKUPS: usize = 64;
/// Sources that one look-up asks.
const MAX_TRIES: usize = 8;

#[derive(Debug)]
struct Lookup {
    command: CommandId,
    game: GameId,
    pin: content::Pin,
    via: Via,
    asked: BTreeSet<SourceId>,
}

/// Every `get-game` under way.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    running: BTreeMap<RequestId, Lookup>,
}

impl Lookups {
    /// Asks the first source.
    pub(super) fn start(&mut self, cx: &mut TransferCx<'_>, command: CommandId, game: GameId) {
        if self.running.len() >= MAX_LOOKUPS {
            let message = format!("{MAX_LOOKUPS} look-ups are under way; try again");
            return cx.reply(command, Err(CommandError::new(ErrorCode::OperationInProgress, message)));
        }
        self.ask(cx, command, game, BTreeSet::new(), None);
    }

    pub(super) fn owns(&self, request: RequestId) -> bool {
        self.running.contains_key(&request)
    }

    /// A source answered, or not: then the next one is asked.
    pub(super) fn answered(
        &mut self,
        cx: &mut TransferCx<'_>,
        request: RequestId,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) {
        let Some(lookup) = self.running.remove(&request) else { return };
        let Lookup { command, game, pin, asked, .. } = lookup;
        match manifest::check(&game, pin.manifest_hash, pin.content_hash(), result) {
            Ok((manifest, _)) => {
                let (bytes, files) = (manifest.bytes(), manifest.files().len());
                let holders = cx.world.sources(&game).into_iter().filter(|source| pin.matches(source));
                let data = GameFiles {
                    game: game.clone(),
                    manifest_hash: pin.manifest_hash,
                    bytes,
                    installs_by: Packing::by_names(&manifest),
                    files: (manifest.files().iter())
                        .map(|file| GameFile { path: file.path.clone(), size: file.size })
                        .collect(),
                    dirs: manifest.dirs().to_vec(),
                    leaves_out: cx.disk.get(&game).and_then(|here| here.leaves_out.clone()),
                    sources: holders.map(|source| source.id.told_as()).collect(),
                };
                cx.reply(command, Ok(CommandData::GameFiles(data)));
                cx.event(PeerEvent::GotGameFiles { game, files, bytes });
            }
            Err(rejection) => {
                let error = match rejection {
                    Rejection::Failed(RunFailure::Timeout) => {
                        CommandError::new(ErrorCode::Timeout, format!("no source of {game} answered in time"))
                    }
                    Rejection::Lie(why) => {
                        CommandError::new(ErrorCode::VerificationFailed, format!("a source of {game} lies: {why}"))
                    }
                    Rejection::Failed(_) => no_sources(cx, &game),
                };
                self.ask(cx, command, game, asked, Some(error));
            }
        }
    }

    /// Requests over a closed connection are not answered any more.
    pub(super) fn connection_down(&mut self, cx: &mut TransferCx<'_>, conn: ConnId) {
        let gone: Vec<_> = self
            .running
            .iter()
            .filter(|(_, lookup)| lookup.via == Via::Conn(conn))
            .map(|(request, _)| *request)
            .collect();
        for request in gone {
            self.answered(cx, request, Err(RunFailure::ConnectionLost));
        }
    }

    /// The daemon stops.
    pub(super) fn stop(&mut self, cx: &mut Cx) {
        for (request, lookup) in std::mem::take(&mut self.running) {
            cx.emit(Output::Cancel { request });
            cx.reply(lookup.command, Err(CommandError::new(ErrorCode::Cancelled, "the daemon stops")));
        }
    }

    fn ask(
        &mut self,
        cx: &mut TransferCx<'_>,
        command: CommandId,
        game: GameId,
        mut asked: BTreeSet<SourceId>,
        last_error: Option<CommandError>,
    ) {
        let mut left = cx.world.sources(&game);
        left.retain(|source| !asked.contains(&source.id));
        let pin = content::choose(cx, &game, &left).filter(|_| asked.len() < MAX_TRIES);
        let next = pin.and_then(|pin| {
            let of_it = left.iter().filter(|source| pin.matches(source));
            of_it.min_by_key(|source| SourceRank::for_look_up(source.id)).map(|source| (pin.clone(), source))
        });
        let Some((pin, source)) = next else {
            if faults::is(Bug::NeverAnswered) {
                return;
            }
            let error = last_error.unwrap_or_else(|| no_sources(cx, &game));
            return cx.reply(command, Err(error));
        };
        asked.insert(source.id);
        let request = cx.ids.request();
        cx.emit(source.via.ask_manifest(request, game.clone(), pin.manifest_hash));
        self.running.insert(request, Lookup { command, game, pin, via: source.via, asked });
    }
}

fn no_sources(cx: &TransferCx<'_>, game: &GameId) -> CommandError {
    let why_not = cx.world.why_not(game);
    CommandError::new(ErrorCode::NoSources, format!("no connected peer can hand out {game}{why_not}"))
}
