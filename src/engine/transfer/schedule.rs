//! What follows every input: slots are filled, downloads take their steps, landing buffers are handed out, ends are collected.

use super::download::{Disk, Download, Over};
use super::serving::Hold;
use super::{Place, Running, Transfers, Waiting};
use crate::api::{Accepted, CommandData, ErrorCode, Operation, PeerEvent};
use crate::engine::core::Cx;
use crate::engine::effect::Effect;
use crate::engine::world::TransferCx;
use crate::faults::{self, Bug};
use crate::proto::GetChunks;
use crate::types::DownloadId;

impl Transfers {
    /// Takes every step that is possible now.
    pub(in crate::engine) fn settle(&mut self, cx: &mut TransferCx<'_>) {
        loop {
            self.fill_slots(cx);
            self.advance(cx);
            if !self.collect(cx) {
                break;
            }
        }
        self.hand_out(cx);
        self.serve_waiting(cx);
        self.answer_accepted(cx);
    }

    /// Answers commands for downloads: only now it is known which of them wait.
    fn answer_accepted(&mut self, cx: &mut Cx) {
        for (id, game) in std::mem::take(&mut self.accepted) {
            let queued = self.places.get(&game) == Some(&Place::Queued);
            cx.reply(id, Ok(CommandData::Accepted(Accepted { game: game.clone(), queued })));
            if queued {
                cx.tell(Effect::OperationStarted { game, operation: Operation::Queued });
            }
        }
    }

    /// Sends what other peers wait for, as far as there is room.
    fn serve_waiting(&mut self, cx: &mut TransferCx<'_>) {
        if self.paused || self.stopping {
            return self.serving.refuse_waiting(cx);
        }
        let mut serving = std::mem::take(&mut self.serving);
        serving.go_on(cx, |cx, request| self.hold(cx, request));
        self.serving = serving;
    }

    /// What runs on a game, as far as a request for chunks of it is concerned.
    pub(super) fn hold(&self, cx: &TransferCx<'_>, request: &GetChunks) -> Hold {
        if let Some(Place::Running(id)) = self.places.get(&request.game_id)
            && !self.stopping
            && let Some(download) = self.running.get(id).and_then(|running| running.download.serves(request))
        {
            return Hold::Verified(download);
        }
        if self.withholds(cx, &request.game_id) { Hold::Busy } else { Hold::Free }
    }

    fn fill_slots(&mut self, cx: &mut Cx) {
        while self.running.len() < cx.config.limits.downloads.max(1)
            && let Some(next) = self.queue.iter().position(|waiting| !waiting.held)
            && let Some(Waiting { game, commanded, install, only, .. }) = self.queue.remove(next)
        {
            let id = cx.ids.download();
            let operation = Operation::Downloading;
            cx.tell(Effect::OperationStarted { game: game.clone(), operation });
            self.places.insert(game.clone(), Place::Running(id));
            self.running.insert(id, Running { download: Download::start(cx, id, game, commanded, only), install });
        }
    }

    fn advance(&mut self, cx: &mut TransferCx<'_>) {
        for running in self.running.values_mut() {
            let sending = self.serving.is_sending(running.download.game());
            running.download.advance(cx, sending);
            self.bans.extend(running.download.take_bans());
        }
        let clear: Vec<_> = self
            .running
            .iter()
            .filter(|(_, running)| running.download.is_clearing() && !self.serving.is_sending(running.download.game()))
            .map(|(id, _)| *id)
            .collect();
        for id in clear {
            if let Some(running) = self.running.get_mut(&id) {
                running.download.prepare(cx);
            }
        }
    }

    /// Takes out what is over. True: a slot is free.
    fn collect(&mut self, cx: &mut Cx) -> bool {
        let over: Vec<_> =
            self.running.iter().filter(|(_, running)| running.download.is_over()).map(|(id, _)| *id).collect();
        for id in &over {
            let Some(running) = self.running.remove(id) else { continue };
            let game = running.download.game().clone();
            let install = running.install && !self.stopping;
            let Some(Over { disk, event }) = running.download.into_over() else { continue };
            self.places.remove(&game);
            let (scanned, rescan) = match disk {
                Disk::Scanned(Some(scanned)) if install && matches!(event, PeerEvent::DownloadFinished { .. }) => {
                    cx.tell(Effect::HandOver { game, scanned, event: Box::new(event) });
                    continue;
                }
                Disk::Untouched => (None, false),
                Disk::Scanned(scanned) => (Some(scanned), false),
                Disk::Unknown => (None, true),
            };
            cx.tell(Effect::OperationEnded { game: game.clone(), scanned });
            if rescan {
                cx.tell(Effect::Rescan { game });
            }
            let is_cancelled = || matches!(event, PeerEvent::DownloadFailed { code: ErrorCode::Cancelled, .. });
            if faults::is(Bug::CancelUntold) && is_cancelled() {
                continue;
            }
            cx.tell(Effect::End(Box::new(event)));
        }
        !over.is_empty()
    }

    /// Hands free landing buffers to the downloads in turn, one run at a time.
    fn hand_out(&mut self, cx: &mut TransferCx<'_>) {
        self.paced = false;
        self.starved = false;
        // Whoever is not looked at now is so once transfers go on, or the limit allows: not for a time that has passed.
        self.running.values_mut().for_each(|running| running.download.forget_look());
        if self.paused {
            return;
        }
        let mut order: Vec<_> =
            self.running.iter().filter(|(_, running)| running.download.is_fetching()).map(|(id, _)| *id).collect();
        let turn = order.partition_point(|id| Some(*id) <= self.served_last);
        order.rotate_left(turn);
        let share = cx.config.limits.landing_buffers / order.len().max(1);
        self.in_turn(cx, &order, |download, cx, free| download.assign(cx, free, share));
        self.in_turn(cx, &order, |download, cx, free| download.assist(cx, free));
        self.starved = self.is_short_of_buffers(cx.config.limits.landing_buffers.max(1));
    }

    /// Whether somebody wants chunks while all buffers are held, but for those that are kept for other sources.
    fn is_short_of_buffers(&self, pool: usize) -> bool {
        let held = self.buffers_held();
        let short = |download: &Download| download.wants_chunks() && held + download.usable_sources() >= pool;
        held > 0 && self.running.values().any(|running| short(&running.download))
    }

    /// Offers the free buffers to one download after the other, until none takes any or the limit is reached. `offer`
    /// answers the bytes that it asked for.
    fn in_turn(
        &mut self,
        cx: &mut TransferCx<'_>,
        order: &[DownloadId],
        offer: impl Fn(&mut Download, &mut TransferCx<'_>, usize) -> Option<u64>,
    ) {
        let pool = cx.config.limits.landing_buffers.max(1);
        let mut taken = true;
        while std::mem::take(&mut taken) {
            for id in order {
                let free = pool.saturating_sub(self.buffers_held());
                let Some(running) = self.running.get_mut(id) else { continue };
                if self.pace.available(cx.now) == 0 {
                    self.paced = true;
                    return;
                }
                if let Some(bytes) = offer(&mut running.download, cx, free) {
                    self.pace.spend(bytes);
                    self.served_last = Some(*id);
                    taken = true;
                }
            }
        }
    }
}
