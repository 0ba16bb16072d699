//! How what the engine says is carried out.

use std::time::Instant;

use super::Reactor;
use crate::api::CommandData;
use crate::engine::Output;
use crate::quic::ConnHandle as Conn;
use crate::workers::Task;

impl Reactor {
    /// Carries out what the engine says.
    pub(super) fn perform(&mut self, output: Output, now: Instant) {
        tracing::trace!(?output, "engine");
        let (mut shell, streams) = self.shell(now);
        match output {
            Output::Dial { dial, addr, expect } => self.endpoint.dial(dial.0, addr, expect, now),
            Output::Close { conn, code, reason } => {
                shell.endpoint.close(Conn(conn.0), code.number(), reason, now);
                streams.closed(Conn(conn.0));
            }
            Output::Ask { request, conn, body } => streams.ask(&mut shell, request, conn, &body),
            Output::Fetch { request, conn, download, content_hash, range } => {
                streams.fetch(&mut shell, request, conn, download, content_hash, range);
            }
            Output::MirrorManifest { request, mirror, game, manifest_hash } => {
                self.mirrors.manifest(mirror, request, game, manifest_hash);
            }
            Output::MirrorFetch { request, mirror, download, range } => {
                self.mirrors.fetch(mirror, request, download, range);
            }
            Output::Cancel { request } => {
                streams.cancel(&mut shell, request);
                self.mirrors.cancel(request);
            }
            Output::Notify { conn, body } => streams.notify(&mut shell, conn, &body),
            Output::Answer { to, body } => streams.answer(&mut shell, to, &body),
            Output::SendManifest { to, game, manifest_hash, content_hash, dirs } => {
                streams.send_manifest(&mut shell, to, game, manifest_hash, content_hash, dirs);
            }
            Output::SendChunks { to, request, download } => streams.send_chunks(&mut shell, to, request, download),
            Output::StopSending { game } => streams.stop_sending_game(&mut shell, &game),
            Output::LimitUpload { rate } => streams.limit_upload(rate),
            Output::AskMirror { mirror, ask } => self.mirrors.ask(mirror, ask),
            Output::Job(job) => self.crew.tasks().push_back(Task::Job(job)),
            Output::FetchCatalog => self.crew.fetch_catalog(),
            Output::CancelHash { game } => self.crew.cancel_hash(&game),
            Output::CancelJob { game } => self.crew.cancel_operation(&game),
            Output::Watch { game } => self.inputs.extend(self.watch.watch(&game)),
            Output::Unwatch { game } => self.inputs.extend(self.watch.unwatch(&game)),
            Output::Advertise { stamp } => self.lookout.advertise(stamp),
            Output::Measure { id, load } => {
                let metrics = Box::new(self.metrics(&load, now));
                self.orders.answer(id, Ok(CommandData::Metrics(metrics)));
            }
            Output::Reply { id, result } => self.orders.answer(id, *result),
            Output::Event(event) => self.subscriber.tell(*event),
            Output::Stopped { failure } => {
                self.ending.at = Some(now + self.config.timers.shutdown_grace);
                // The first reason is the one that counts.
                failure.into_iter().for_each(|why| drop(self.ending.failure.set(why)));
            }
        }
    }
}
