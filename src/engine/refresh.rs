//! When the catalog is looked at again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Cx;
use super::io::Output;
use crate::api::{ErrorCode, PeerEvent};
use crate::catalog::Catalog;
use crate::types::JobError;

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

    /// Looks at the catalog now. Whether a result will come.
    pub(super) fn fetch(&mut self, cx: &mut Cx) -> bool {
        if cx.config.catalog.is_none() {
            return false;
        }
        if !std::mem::replace(&mut self.running, true) {
            self.due = None;
            cx.emit(Output::FetchCatalog);
        }
        true
    }

    /// Looks at it if it is time.
    pub(super) fn timeout(&mut self, cx: &mut Cx) {
        if self.due.is_some_and(|due| due <= cx.now) {
            self.fetch(cx);
        }
    }

    /// Takes in what came of [`Output::FetchCatalog`]; answers another catalog than the one in force.
    pub(super) fn fetched(
        &mut self,
        cx: &mut Cx,
        result: Result<Option<Arc<Catalog>>, JobError>,
    ) -> Option<Arc<Catalog>> {
        self.running = false;
        // A tenth of it is chance: a whole party that was started at once must not ask at once for ever.
        let every = cx.config.timers.catalog_refresh;
        let spread = (every / 10).as_micros() as u64;
        let later = if spread == 0 { 0 } else { cx.ids.random() % spread };
        self.due = Some(cx.now + every + Duration::from_micros(later));
        match result {
            Ok(catalog) => {
                self.trouble = None;
                catalog.filter(|catalog| **catalog != *cx.catalog)
            }
            Err(error) if self.trouble.as_ref() == Some(&error.message) => None,
            Err(error) => {
                let message = format!("{}; the last good catalog stays in force", error.message);
                self.trouble = Some(error.message);
                cx.event(PeerEvent::RuntimeError { code: ErrorCode::from(error.kind), message });
                None
            }
        }
    }
}
