//! How long a stream is waited for, and what follows when that is over.

use super::*;

impl Streams {
    /// When [`Streams::expire`] has something to do.
    pub(in crate::reactor) fn next_deadline(&mut self) -> Option<Instant> {
        // Streams that ended in time leave their entries behind: they must not cost a wake-up.
        while let Some(&Reverse((_, conn, number))) = self.deadlines.peek()
            && self.stream(conn, number).is_none_or(|stream| stream.deadline.is_none())
        {
            self.deadlines.pop();
        }
        let first = self.deadlines.peek().map(|Reverse((at, ..))| *at);
        let upload = self.upload.ready_at().filter(|_| self.throttled);
        [first, self.sweep_at, self.evict_at, upload].into_iter().flatten().min()
    }

    /// Limits how fast games go out, in bytes per second over all connections; `None`: not at all.
    pub(in crate::reactor) fn limit_upload(&mut self, rate: Option<u64>) {
        self.upload = Pace::new(rate);
    }

    /// Goes on with the runs that were held back, as far as the limits allow by now.
    fn go_on(&mut self, cx: &mut Shell<'_>) {
        if self.throttled && self.upload.ready_at().is_none_or(|at| at <= cx.now) {
            self.throttled = false;
            // Another connection first every time, or it would get everything.
            let mut senders: Vec<Conn> = self.senders.iter().copied().collect();
            let start = senders.partition_point(|&conn| Some(conn) <= self.resumed_first);
            let count = senders.len();
            senders.rotate_left(start % count.max(1));
            self.resumed_first = senders.first().copied();
            for conn in senders {
                self.writable(cx, conn);
            }
        }
    }

    /// The PC slept: what was waited for is given its whole time again.
    pub(in crate::reactor) fn woke(&mut self, cx: &Shell<'_>) {
        let timers = &cx.config.timers;
        for stream in self.conns.values_mut().flat_map(|connection| connection.streams.values_mut()) {
            let patience = match stream.kind {
                Kind::Fetching { .. } | Kind::Inbound { state: Inbound::Sending(_), .. } => timers.run_stall,
                _ => timers.request_timeout,
            };
            // Their entries are looked at when they are due, and put off.
            stream.deadline = stream.deadline.map(|deadline| deadline.max(cx.now + patience));
        }
    }

    /// Ends what has run out of time.
    pub(in crate::reactor) fn expire(&mut self, cx: &mut Shell<'_>) {
        self.go_on(cx);
        if self.sweep_at.is_some_and(|at| at <= cx.now) {
            self.sweep_at = self.open_games.forget_unused().then(|| cx.now + OPEN_GAMES_SWEEP);
        }
        while let Some(&Reverse((at, conn, number))) = self.deadlines.peek() {
            if at > cx.now {
                break;
            }
            self.deadlines.pop();
            let Some(deadline) = self.stream(conn, number).and_then(|stream| stream.deadline) else { continue };
            if deadline > cx.now {
                self.deadlines.push(Reverse((deadline, conn, number)));
                continue;
            }
            self.expired(cx, conn, number);
        }
    }

    pub(super) fn expired(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        match self.kind(conn, number) {
            Some(Kind::Asking(_)) => {
                cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
                self.end_ask(cx, conn, number, Err(RunFailure::Timeout));
            }
            Some(Kind::Fetching { .. }) => self.end_fetch(cx, conn, number, Err(RunFailure::Timeout)),
            Some(Kind::Telling(_)) => {
                cx.endpoint.reset(conn, number, StreamCode::Busy.number());
                self.forget(conn, number);
            }
            Some(Kind::Hearing(_) | Kind::Inbound { state: Inbound::Reading(_), .. }) => {
                self.protocol_fault(cx, conn, CloseCode::Timeout, "a frame was not finished in time");
            }
            Some(Kind::Inbound { state: Inbound::Answering(_), .. }) => {
                cx.endpoint.reset(conn, number, StreamCode::Busy.number());
                self.forget(conn, number);
            }
            Some(Kind::Inbound { state: Inbound::Sending(_), .. }) => {
                self.stop_send(cx, conn, number, StreamCode::Busy, false);
            }
            _ => {}
        }
    }

    /// Has a stream looked at when its patience may have ended.
    pub(super) fn arm(&mut self, deadline: Instant, conn: Conn, number: u64) {
        // Entries of streams that ended in time are left behind: short streams must not pile them up.
        if self.deadlines.len() >= self.deadlines_limit.max(MIN_DEADLINES) {
            let conns = &self.conns;
            let waits = |conn: &Conn, number: &u64| {
                let stream = conns.get(conn).and_then(|connection| connection.streams.get(number));
                stream.is_some_and(|stream| stream.deadline.is_some())
            };
            self.deadlines.retain(|Reverse((_, conn, number))| waits(conn, number));
            self.deadlines_limit = self.deadlines.len() * 2;
        }
        self.deadlines.push(Reverse((deadline, conn, number)));
    }
}
