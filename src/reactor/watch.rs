//! File events of the game directory, while there is one.

use std::path::Path;
use std::sync::Arc;

use super::inbox::Wake;
use crate::engine::Input;
use crate::index::watch::{Degraded, FsEvent, Watcher};
use crate::types::GameId;

/// Watches the games of a library.
pub(super) struct Watch {
    watcher: Option<Watcher>,
    /// All games are watched, as far as the engine knows.
    complete: bool,
    max_watches: usize,
    wake: Wake,
}

impl Watch {
    /// Nothing is watched yet.
    pub(super) fn new(max_watches: usize, wake: Wake) -> Self {
        Self { watcher: None, complete: true, max_watches, wake }
    }

    /// A library is open; `was_open`: it is the one that is watched.
    pub(super) fn opened(&mut self, dir: &Path, was_open: bool) -> Option<Input> {
        if was_open && self.watcher.is_some() {
            return None;
        }
        // The old one first: two directories could need more watches than there are.
        self.watcher = None;
        let wake = self.wake.clone();
        let started = Watcher::start(dir, self.max_watches, Arc::new(move || wake.wake()));
        let degraded = started.map(|watcher| self.watcher = Some(watcher)).err();
        self.looked(degraded)
    }

    /// No library is open.
    pub(super) fn closed(&mut self) {
        self.watcher = None;
    }

    /// Watches a game.
    pub(super) fn watch(&mut self, game: &GameId) -> Option<Input> {
        let degraded = self.watcher.as_mut()?.watch(game).err();
        self.looked(degraded)
    }

    /// Watches it no more.
    pub(super) fn unwatch(&mut self, game: &GameId) -> Option<Input> {
        let watcher = self.watcher.as_mut()?;
        watcher.unwatch(game);
        // The watch that is free now may serve a game that went without.
        let degraded = watcher.retry();
        self.looked(degraded)
    }

    /// What has changed.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = Input> + use<> {
        let changes = self.watcher.as_mut().map(Watcher::drain).unwrap_or_default();
        changes.into_iter().map(|event| match event {
            FsEvent::Game(game) => Input::FsChanged { game },
            FsEvent::Root => Input::FsRescan { reason: "the game directory changed" },
            FsEvent::Overflow => Input::FsRescan { reason: "file events were lost" },
        })
    }

    /// Events that wait, and how many may.
    pub(super) fn waiting(&self) -> (usize, usize) {
        self.watcher.as_ref().map_or((0, 0), Watcher::waiting)
    }

    /// What the engine hears when the way of watching changes.
    fn looked(&mut self, degraded: Option<Degraded>) -> Option<Input> {
        let complete = self.watcher.as_ref().is_some_and(|watcher| watcher.missing() == 0);
        if complete == self.complete {
            return None;
        }
        self.complete = complete;
        Some(Input::WatchDegraded { message: degraded.map(|degraded| degraded.message) })
    }
}
