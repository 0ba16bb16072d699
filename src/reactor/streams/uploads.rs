//! What of games goes out: manifests and runs of chunks, from the request to the last block; and who gets the buffers that
//! blocks are read into.

use super::*;

impl Streams {
    /// Answers with a manifest as soon as the game is open.
    pub(in crate::reactor) fn send_manifest(
        &mut self,
        cx: &mut Shell<'_>,
        to: InboundId,
        files: Files,
        content_hash: Option<ContentHash>,
        dirs: bool,
    ) {
        self.send_when_open(cx, to, files, ToSend::Manifest { content_hash, dirs });
    }

    /// Answers with chunks as soon as the game is open.
    pub(in crate::reactor) fn send_chunks(
        &mut self,
        cx: &mut Shell<'_>,
        to: InboundId,
        request: GetChunks,
        download: Option<DownloadId>,
    ) {
        let files = Files { game: request.game_id.clone(), manifest_hash: request.manifest_hash, download };
        self.send_when_open(cx, to, files, ToSend::Chunks(Box::new(request)));
    }

    fn send_when_open(&mut self, cx: &mut Shell<'_>, to: InboundId, files: Files, what: ToSend) {
        let (conn, number) = (conn_of(to.conn), to.stream);
        let Some(Kind::Inbound { state: state @ Inbound::Waiting(_), .. }) = self.kind(conn, number) else {
            cx.inputs.push_back(Input::SendDone { to, bytes: 0, changed: false });
            return;
        };
        *state = Inbound::Waiting(Some(Opening { files: files.clone(), what }));
        match self.open_games.get(&files, to) {
            Lookup::Open(served) => self.begin_send(cx, to, served),
            Lookup::Waiting => {}
            Lookup::Full => self.refuse_send(cx, to, WireErrorCode::Busy, "too many games are being sent", false),
            Lookup::Wanted(token) => {
                let Files { game, manifest_hash, download } = files;
                cx.tasks.push_back(Task::OpenServed(OpenServed { token, game, manifest_hash, download }));
            }
        }
    }

    /// A game was opened for serving, or could not be.
    pub(in crate::reactor) fn game_opened(&mut self, cx: &mut Shell<'_>, opened: Opened) {
        let Opened { token, game, result } = opened;
        let served = result.as_ref().ok().map(Arc::clone);
        self.sweep_at.get_or_insert(cx.now + OPEN_GAMES_SWEEP);
        for to in self.open_games.opened(token, served) {
            match &result {
                Ok(served) => self.begin_send(cx, to, Arc::clone(served)),
                Err(error) => {
                    let changed = error.kind == JobErrorKind::Changed;
                    let code = if changed { WireErrorCode::Changed } else { WireErrorCode::Internal };
                    tracing::info!(%game, %error, "cannot open a game for serving");
                    self.refuse_send(cx, to, code, "the files are not the ones that were asked for", changed);
                }
            }
        }
    }

    pub(in crate::reactor) fn begin_send(&mut self, cx: &mut Shell<'_>, to: InboundId, served: Arc<ServedGame>) {
        let (conn, number) = (conn_of(to.conn), to.stream);
        let Some(Kind::Inbound { state: Inbound::Waiting(opening), .. }) = self.kind(conn, number) else { return };
        let Some(opening) = opening.take() else { return };
        match opening.what {
            ToSend::Manifest { dirs: false, .. } if !served.manifest().dirs().is_empty() => {
                // It could not make the hash of the list out of what it knows, and would take this peer for a liar.
                let message = "the game has empty folders, of which the version that asks does not know: update it";
                self.refuse_send(cx, to, WireErrorCode::NotServed, message, false);
            }
            ToSend::Manifest { content_hash, .. } => {
                if content_hash.is_some() && served.content_hash() != content_hash {
                    self.open_games.close(&opening.files);
                    self.refuse_send(cx, to, WireErrorCode::Changed, "the files have changed", true);
                    return;
                }
                let outgoing = manifest_answer(opening.files.game, &served);
                cx.inputs.push_back(Input::SendDone { to, bytes: 0, changed: false });
                self.respond(cx, to, outgoing);
            }
            ToSend::Chunks(request) => {
                let wanted = request.content_hash;
                if wanted.is_some() && served.content_hash() != wanted {
                    self.open_games.close(&opening.files);
                    self.refuse_send(cx, to, WireErrorCode::Changed, "the files have changed", true);
                    return;
                }
                match Sending::new(opening.files, served, &request) {
                    None => self.refuse_send(cx, to, WireErrorCode::BadRequest, "no such chunks", false),
                    Some(sending) => {
                        let Some(stream) = self.stream(conn, number) else { return };
                        let Kind::Inbound { state, .. } = &mut stream.kind else { return };
                        *state = Inbound::Sending(Box::new(sending));
                        stream.deadline = Some(cx.now + cx.config.timers.run_stall);
                        self.arm(cx.now + cx.config.timers.run_stall, conn, number);
                        cx.endpoint.set_priority(conn, number, BULK_URGENCY, false);
                        self.senders.insert(conn);
                        if let Some(connection) = self.conns.get_mut(&conn) {
                            connection.sends.push_back(number);
                        }
                        self.mark_writing(conn, number);
                        self.pump(cx, conn, number);
                        self.read_ahead(cx, conn);
                    }
                }
            }
        }
    }

    pub(in crate::reactor) fn refuse_send(
        &mut self,
        cx: &mut Shell<'_>,
        to: InboundId,
        code: WireErrorCode,
        message: &str,
        changed: bool,
    ) {
        cx.inputs.push_back(Input::SendDone { to, bytes: 0, changed });
        self.respond(cx, to, Outgoing::message(error_frame(code, message)));
    }

    /// A block was read for a run, or could not be.
    pub(in crate::reactor) fn block_read(&mut self, cx: &mut Shell<'_>, done: ReadDone) {
        let ReadDone { token, batch, result } = done;
        let Some((to, number)) = self.reads.remove(&token) else { return };
        let (conn, stream) = (conn_of(to.conn), to.stream);
        let Some(Kind::Inbound { state, .. }) = self.kind(conn, stream) else { return };
        match state {
            Inbound::Sending(sending) => match result {
                Ok(read) => {
                    sending.block_read(number, batch, read);
                    if let Some(connection) = self.conns.get_mut(&conn) {
                        // It could not move without the block.
                        connection.moved_at = cx.now;
                    }
                    self.mark_writing(conn, stream);
                    self.pump(cx, conn, stream);
                }
                Err(error) => {
                    sending.reading -= 1;
                    let changed = error.kind == JobErrorKind::Changed;
                    tracing::info!(game = %sending.files.game, %error, "cannot read a block for a peer");
                    let code = if changed { StreamCode::Changed } else { StreamCode::Io };
                    if changed {
                        let files = sending.files.clone();
                        self.open_games.close(&files);
                    } else if error.kind == JobErrorKind::Io {
                        cx.inputs.push_back(Input::ReadFailed { game: sending.files.game.clone() });
                    }
                    self.stop_send(cx, conn, stream, code, changed);
                }
            },
            Inbound::Stopping { reading, bytes, changed } => {
                *reading -= 1;
                if *reading == 0 {
                    cx.inputs.push_back(Input::SendDone { to, bytes: *bytes, changed: *changed });
                    self.forget(conn, stream);
                }
            }
            _ => {}
        }
    }

    /// Ends everything that is being sent of a game.
    pub(in crate::reactor) fn stop_sending_game(&mut self, cx: &mut Shell<'_>, game: &GameId) {
        self.open_games.forget(game);
        let mut hit = Vec::new();
        for (&conn, connection) in &self.conns {
            for (&number, stream) in &connection.streams {
                let Kind::Inbound { state, .. } = &stream.kind else { continue };
                match state {
                    Inbound::Sending(sending) if sending.files.game == *game => hit.push((conn, number)),
                    Inbound::Waiting(Some(opening)) if opening.files.game == *game => hit.push((conn, number)),
                    _ => {}
                }
            }
        }
        hit.sort_unstable();
        for (conn, number) in hit {
            self.stop_send(cx, conn, number, StreamCode::NotServed, false);
        }
    }

    /// Ends a send that is waiting or running, with `SendDone` once no worker reads for it any more.
    pub(in crate::reactor) fn stop_send(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        number: u64,
        code: StreamCode,
        changed: bool,
    ) {
        let to = InboundId { conn: conn_id(conn), stream: number };
        let Some(Kind::Inbound { state, fin }) = self.kind(conn, number) else { return };
        let (reading, bytes) = match state {
            Inbound::Sending(sending) => (sending.reading, sending.sent),
            Inbound::Waiting(Some(_)) => (0, 0),
            _ => return,
        };
        if !*fin {
            cx.endpoint.stop_sending(conn, number, code.number());
        }
        cx.endpoint.reset(conn, number, code.number());
        if reading == 0 {
            cx.inputs.push_back(Input::SendDone { to, bytes, changed });
            self.forget(conn, number);
            return;
        }
        *state = Inbound::Stopping { reading, bytes, changed };
        *fin = true;
        self.leave_senders(conn, number);
    }

    /// Gives every connection with runs going out its share of free read buffers. First one each, so that those that do
    /// not take their blocks cannot hold all there are, and beginning with another connection every time.
    pub(in crate::reactor) fn read_ahead_all(&mut self, cx: &mut Shell<'_>) {
        let mut senders: Vec<Conn> = self.senders.iter().copied().collect();
        let start = senders.partition_point(|&conn| Some(conn) <= self.fed_first);
        let count = senders.len();
        senders.rotate_left(start % count.max(1));
        self.fed_first = senders.first().copied();
        let mut starving = false;
        for &conn in &senders {
            starving |= !self.read_ahead_to(cx, conn, 1);
        }
        for &conn in &senders {
            self.read_ahead(cx, conn);
        }
        self.evict_at = if starving { self.evict(cx) } else { None };
    }

    pub(in crate::reactor) fn read_ahead(&mut self, cx: &mut Shell<'_>, conn: Conn) {
        self.read_ahead_to(cx, conn, cx.config.limits.read_ahead);
    }

    /// Has blocks read for a connection until `limit` of them are ahead of the transport, or its share of the buffers is
    /// in use. `false`: it has no buffer at all, and there is none.
    pub(super) fn read_ahead_to(&mut self, cx: &mut Shell<'_>, conn: Conn, limit: usize) -> bool {
        let share = (cx.config.limits.read_buffers / self.senders.len().max(1)).max(1);
        let Some(connection) = self.conns.get_mut(&conn) else { return true };
        let mut ahead = 0;
        for &number in &connection.sends {
            let Some(Stream { kind: Kind::Inbound { state: Inbound::Sending(sending), .. }, .. }) =
                connection.streams.get_mut(&number)
            else {
                continue;
            };
            ahead += sending.ahead() + sending.outgoing.parts_left();
            while ahead < limit && sending.wants_read() {
                // Also what the transport has and the peer did not acknowledge: one that has gone silent holds on to it.
                let in_use = connection.buffers.in_use();
                if in_use >= share {
                    return true;
                }
                let Some(buf) = cx.read_pool.take_for(&connection.buffers) else { return in_use > 0 };
                if in_use == 0 {
                    connection.moved_at = cx.now;
                }
                let Some((block, batch)) = sending.next_read() else { break };
                ahead += 1;
                self.next_read += 1;
                let to = InboundId { conn: conn_id(conn), stream: number };
                self.reads.insert(self.next_read, (to, block));
                cx.tasks.push_back(Task::Read(ReadBatch {
                    token: self.next_read,
                    game: Arc::clone(&sending.served),
                    batch,
                    buf,
                    hash: sending.hashed,
                }));
            }
            if ahead >= limit {
                break;
            }
        }
        true
    }

    /// All read buffers are in use, and somebody has none: closes the connection that has stood still for longest, if that
    /// is long enough. A few PCs that lost their power must not keep a game from all the others. Returns when to look again.
    pub(super) fn evict(&mut self, cx: &mut Shell<'_>) -> Option<Instant> {
        // Those that wait for this side's disk are not to blame.
        let holders = self.conns.iter().filter(|(_, held)| held.buffers.in_use() > 0 && !held.is_read_for());
        let (&conn, connection) = holders.min_by_key(|(conn, connection)| (connection.moved_at, **conn))?;
        let until = connection.moved_at + PROGRESS_TIME;
        if until > cx.now {
            return Some(until);
        }
        self.protocol_fault(cx, conn, CloseCode::Overload, "what it asked for stands still while others wait");
        Some(cx.now)
    }
}

/// The files of a game, and their hashes where they are known.
fn manifest_answer(game_id: GameId, served: &ServedGame) -> Outgoing {
    let answer = Answer::Manifest(ManifestAnswer {
        game_id,
        manifest_hash: served.manifest_hash(),
        files: served.manifest().files().to_vec(),
        dirs: served.manifest().dirs().to_vec(),
        chunk_size: crate::types::CHUNK_SIZE,
        chunk_count: served.manifest().chunk_count(),
        content_hash: served.content_hash(),
    });
    match encode(&answer, MAX_BULK_FRAME) {
        Ok(frame) => {
            let mut outgoing = Outgoing::default();
            outgoing.push(frame.into());
            if let Some(hashes) = served.chunk_hashes() {
                outgoing.push(hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>().into());
            }
            outgoing.finish();
            outgoing
        }
        Err(error) => {
            tracing::warn!(%error, "a manifest does not fit in a frame");
            Outgoing::message(error_frame(WireErrorCode::Internal, "the manifest does not fit in a frame"))
        }
    }
}
