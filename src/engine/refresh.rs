//! When the catalog is looked at again, and what follows when it is another one.
//!
//! The catalog decides which games are offered and fetched, in which version and with which content. So another one may
//! mean another revision of the library, sends that are stopped, and downloads that have lost their purpose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Cx;
use super::{Engine, Local, Output, cx, error_code, local, transfers};
use crate::api::PeerEvent;
use crate::catalog::Catalog;
use crate::types::{GameId, JobError, ScannedGame};

/// Where the watch over the catalog stands.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    due: Option<Instant>,
    running: bool,
    /// What was wrong the last time: said once, not every few minutes.
    trouble: Option<String>,
}

impl Refresh {
    /// When the catalog is to be looked at.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Engine {
    /// Looks at the catalog now. Whether a result will come.
    pub(super) fn fetch_catalog(&mut self) -> bool {
        if self.config.catalog.is_none() {
            return false;
        }
        if !std::mem::replace(&mut self.refresh.running, true) {
            self.refresh.due = None;
            self.out.push_back(Output::FetchCatalog);
        }
        true
    }

    /// Looks at it if it is time.
    pub(super) fn refresh_timeout(&mut self, now: Instant) {
        if self.refresh.due.is_some_and(|due| due <= now) {
            self.fetch_catalog();
        }
    }

    /// Takes in what came of [`Output::FetchCatalog`].
    pub(super) fn catalog_fetched(&mut self, result: Result<Option<Arc<Catalog>>, JobError>, now: Instant) {
        self.refresh.running = false;
        // A tenth of it is chance: a whole party that was started at once must not ask at once for ever.
        let every = self.config.timers.catalog_refresh;
        let spread = (every / 10).as_micros() as u64;
        let later = if spread == 0 { 0 } else { self.ids.random() % spread };
        self.refresh.due = Some(now + every + Duration::from_micros(later));
        match result {
            Ok(catalog) => {
                self.refresh.trouble = None;
                if let Some(catalog) = catalog {
                    self.catalog_changed(catalog, now);
                }
            }
            Err(error) if self.refresh.trouble.as_ref() == Some(&error.message) => {}
            Err(error) => {
                let message = format!("{}; the last good catalog stays in force", error.message);
                self.refresh.trouble = Some(error.message);
                (cx!(self, now)).event(PeerEvent::RuntimeError { code: error_code(error.kind), message });
            }
        }
        self.catalog_looked_at(now);
    }

    fn catalog_changed(&mut self, catalog: Arc<Catalog>, now: Instant) {
        if *catalog == *self.catalog {
            return;
        }
        let before = std::mem::replace(&mut self.catalog, catalog);
        let offers = |catalog: &Catalog, game: &ScannedGame| {
            catalog.withholds(&game.id, game.eti_version.as_deref(), game.content_hash).is_none()
        };
        let withdrawn: Vec<GameId> = self
            .library
            .games()
            .values()
            .filter(|game| game.downloaded && offers(&before, game) && !offers(&self.catalog, game))
            .map(|game| game.id.clone())
            .collect();
        self.out.extend(withdrawn.into_iter().map(|game| Output::StopSending { game }));
        self.library.touch_all(cx!(self, now));
        self.gate.catalog_changed();
        self.peers.catalog_changed(cx!(self, now), &self.library, &self.catalog);
        transfers!(self, now, catalog_changed);
        let event = PeerEvent::CatalogChanged {
            games: self.catalog.listed().unwrap_or_default(),
            serial: self.catalog.serial(),
        };
        (cx!(self, now)).event(event);
    }
}
