//! The only loop: one thread that owns all state and never blocks.
//!
//! # One turn
//!
//! 1. Let packets gather, if many come one by one; then poll until the earliest deadline of the engine, the connections and the
//!    streams.
//! 2. Take messages of the other threads: commands, sightings, file events, finished work.
//! 3. Read the sockets until they would block, or until the budget is used up (then the next poll does not wait).
//! 4. Fire due timers, whether or not there were events.
//! 5. Move bytes: readable streams into messages and landing buffers, blocks into streams.
//! 6. Feed the engine and carry out what it says.
//! 7. Hand tasks to the workers; flush every connection that has something to say, once.
//! 8. Take note of what transfers wait for until the next turn.
//!
//! Bulk bytes never pass the engine: it decides which chunks go where, and hears that they landed, were verified, were
//! written.

mod addresses;
mod fetch;
mod frames;
mod mailbox;
mod metrics;
mod mirrors;
mod send;
mod sleep;
#[cfg(test)]
mod slow_disk;
mod streams;
mod traffic;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mio::{Events, Poll, Token};

use crate::api::{CommandData, CommandResult, PeerCommand, PeerEvent};
use crate::catalog::{Catalog, CatalogError, Keeper};
use crate::config::Config;
use crate::discovery::{Discovery, DiscoveryConfig, DiscoveryEvent, kind_between};
use crate::engine::{CommandId, ConnId, DialId, Engine, Input, Output, RequestId, Sighting};
use crate::fs::DirLock;
use crate::identity::Identity;
use crate::index::watch::{Degraded, FsEvent, Watcher};
use crate::mirror::{self, Mirrors};
use crate::proto::{CloseCode, PROTO_VER};
use crate::queue;
use crate::quic::{ConnHandle as Conn, Endpoint, Event};
use crate::types::{DownloadId, DownloadPlan, Job, JobDone, JobError, JobErrorKind};
use crate::workers::{BufferPool, Task, TaskDone, Workers};

pub(crate) use mailbox::{Mailbox, Wake};
use metrics::Measures;
use sleep::Sleep;
use streams::{ParsedElsewhere, Shell, Streams};
use traffic::{Report, Totals, Traffic};

/// Token of the waker; the sockets have those after it.
const WAKER: Token = Token(0);
/// First token of the endpoint.
const ENDPOINT_TOKENS: usize = 1;
/// Commands that may wait for the reactor.
const COMMAND_QUEUE: usize = 256;
/// Sightings and file events that may wait; more are shed (they come again, or a rescan makes up for them).
const HINT_QUEUE: usize = 1024;
/// Events that a subscriber may leave unread before some are shed.
const EVENT_QUEUE: usize = 8192;
/// Buffers that nobody used for so long are given back to the system.
const BUFFERS_LINGER: Duration = Duration::from_secs(10);
/// Messages of one kind taken in one turn.
const MAIL_BUDGET: usize = 256;

/// Called with the answer to a command, on the reactor's thread: it must not block.
pub(crate) type Replier = Box<dyn FnOnce(CommandResult) + Send>;

/// A command on its way in.
pub(crate) struct Order {
    pub(crate) command: PeerCommand,
    pub(crate) reply: Replier,
}

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The identity.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// The party key.
    #[error(transparent)]
    PartyKey(#[from] crate::identity::PartyKeyError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] crate::catalog::CatalogError),
    /// The sockets.
    #[error(transparent)]
    Bind(#[from] crate::quic::BindError),
    /// The state or game directory is held by another daemon, or cannot be used.
    #[error("{0}")]
    Directory(String),
    /// A thread, the poll or its waker.
    #[error("the operating system gave no {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// What [`start`] hands back.
pub(crate) struct Started {
    pub(crate) orders: Mailbox<Order>,
    pub(crate) events: Receiver<PeerEvent>,
    pub(crate) listen_addrs: Vec<std::net::SocketAddr>,
    pub(crate) thread: std::thread::JoinHandle<()>,
    /// Why it stopped without having been ready; set before the thread ends.
    pub(crate) failure: Arc<OnceLock<String>>,
}

/// Binds the sockets, starts the threads, and lets the reactor run.
///
/// `state_lock` is held until the reactor's thread ends.
pub(crate) fn start(
    config: Config,
    identity: Identity,
    catalog: Arc<Catalog>,
    keeper: Option<Keeper>,
    state_lock: DirLock,
) -> Result<Started, StartError> {
    let system = |what| move |source| StartError::System { what, source };
    let poll = Poll::new().map_err(system("event queue"))?;
    let wake = Wake::new(mio::Waker::new(poll.registry(), WAKER).map_err(system("waker"))?);
    let endpoint = Endpoint::bind(&config, &identity, poll.registry(), ENDPOINT_TOKENS, now_outside_the_engine())?;
    let listen_addrs = endpoint.local_addrs();

    let (orders, order_queue) = Mailbox::new(COMMAND_QUEUE, wake.clone());
    let (events, event_queue) = crossbeam_channel::unbounded();
    let (sightings, sighting_queue) = Mailbox::new(HINT_QUEUE, wake.clone());

    let workers = {
        let wake = wake.clone();
        Workers::start(config.limits.workers, crate::discovery::diagnose, Arc::new(move || wake.wake()))
            .map_err(system("worker thread"))?
    };
    let landing_pool = {
        // What the threads of the mirrors still hold of cancelled runs is nobody's reservation.
        let slack = config.mirrors.len() * mirror::THREADS;
        BufferPool::new(config.limits.landing_buffers + slack, crate::types::CHUNK_SIZE as usize)
    };
    let mirrors = {
        let wake = wake.clone();
        let wake: mirror::Wake = Arc::new(move || wake.wake());
        Mirrors::start(&config.mirrors, &landing_pool, config.timers.run_stall, wake)
            .map_err(system("mirror thread"))?
    };
    let discovery = if config.mdns { start_discovery(&config, &identity, &listen_addrs, sightings) } else { Ok(None) };
    let engine = Engine::new(config.clone(), catalog, identity.peer_id(), seed(), now_outside_the_engine());
    let failure = Arc::new(OnceLock::new());
    let mut reactor = Reactor {
        landing_pool,
        mirrors,
        outages: mirrors::Outages::default(),
        read_pool: BufferPool::new(config.limits.read_buffers, crate::types::CHUNK_SIZE as usize),
        streams: Streams::default(),
        inputs: VecDeque::new(),
        tasks: VecDeque::new(),
        plans: BTreeMap::new(),
        repliers: HashMap::new(),
        next_command: 0,
        stopping: None,
        failure: failure.clone(),
        traffic: Traffic::new(now_outside_the_engine()),
        trim_at: None,
        lost_events: 0,
        measures: Measures::new(now_outside_the_engine()),
        watcher: None,
        watching: true,
        wake,
        discovery: None,
        config,
        poll,
        keeper: keeper.map(Box::new),
        endpoint,
        engine,
        workers,
        order_queue,
        events,
        sighting_queue,
        _state_lock: state_lock,
    };
    match discovery {
        Ok(discovery) => reactor.discovery = discovery,
        Err(message) => reactor.emit(PeerEvent::RuntimeError { code: crate::api::ErrorCode::Io, message }),
    }
    let thread = std::thread::Builder::new()
        .name("reactor".into())
        .spawn(move || reactor.run())
        .map_err(system("reactor thread"))?;
    Ok(Started { orders, events: event_queue, listen_addrs, thread, failure })
}

fn start_discovery(
    config: &Config,
    identity: &Identity,
    listen: &[std::net::SocketAddr],
    sightings: Mailbox<DiscoveryEvent>,
) -> Result<Option<Discovery>, String> {
    let port = listen.first().map_or(0, std::net::SocketAddr::port);
    let mut discovery = DiscoveryConfig::new(identity.peer_id(), port, PROTO_VER);
    // mdns-sd counts in seconds, and 0 would mean never.
    discovery.timers.ip_check = config.timers.interface_check.max(Duration::from_secs(1));
    discovery.hostname.clone_from(&config.hostname);
    discovery.listen = listen.iter().map(std::net::SocketAddr::ip).collect();
    // A sighting that does not fit comes again.
    let sink = Box::new(move |event| drop(sightings.try_send(event)));
    Discovery::start(discovery, sink).map(Some).map_err(|error| error.to_string())
}

/// Seed of the engine's generator: spreads out epochs and jitter, keeps no secret.
fn seed() -> u64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 8];
    // Without randomness the identity could not have been made; zero only costs jitter.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

struct Reactor {
    config: Config,
    poll: Poll,
    endpoint: Endpoint,
    engine: Engine,
    workers: Workers<ParsedElsewhere>,
    mirrors: Mirrors,
    outages: mirrors::Outages,
    /// `None`: there is no catalog, or it is being fetched.
    keeper: Option<Box<Keeper>>,
    discovery: Option<Discovery>,
    watcher: Option<Watcher>,
    /// All games are watched, as far as the engine knows.
    watching: bool,
    wake: Wake,

    streams: Streams,
    landing_pool: BufferPool,
    read_pool: BufferPool,
    /// What the engine has not been told yet.
    inputs: VecDeque<Input>,
    /// What the workers have not been given yet; bounded by buffers and by the engine's jobs.
    tasks: VecDeque<Task<ParsedElsewhere>>,
    /// What the running downloads write.
    plans: BTreeMap<DownloadId, Arc<DownloadPlan>>,

    order_queue: Receiver<Order>,
    repliers: HashMap<CommandId, Replier>,
    next_command: u64,
    sighting_queue: Receiver<DiscoveryEvent>,
    events: Sender<PeerEvent>,
    lost_events: u64,
    measures: Measures,
    /// When to close what is left, once the engine has stopped.
    stopping: Option<Instant>,
    /// Why the engine stopped by itself.
    failure: Arc<OnceLock<String>>,
    traffic: Traffic,
    /// When to give idle buffers back.
    trim_at: Option<Instant>,
    /// Held until the thread ends: one daemon per state directory.
    _state_lock: DirLock,
}

impl Reactor {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        let mut now = now_outside_the_engine();
        let listening = self.listening();
        self.inputs.push_back(listening);
        self.streams.limit_upload(self.config.rates.max_upload);
        let mut more = false;
        let mut sleep = Sleep::new(now);
        self.wake.runs_here();
        loop {
            self.decide(now);
            if self.stopping.is_some_and(|at| at <= now) {
                break;
            }
            if !more {
                now = self.rest(now);
            }
            let timeout = if more { Some(Duration::ZERO) } else { self.timeout(now) };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(%error, "polling failed; the daemon stops");
                    break;
                }
            }
            now = now_outside_the_engine();
            let slept = sleep.slept(timeout, now);
            if slept >= self.config.timers.sleep_least {
                self.woke(slept, now);
            }
            for event in &events {
                if event.token() != WAKER {
                    self.endpoint.on_ready(event.token().0, event.is_readable(), event.is_writable());
                }
            }
            more = self.take_mail();
            more |= self.endpoint.receive(now);
            self.endpoint.fire_timers(now);
            self.move_bytes(now);
            self.decide(now);
            self.endpoint.flush(now);
            // Flushing makes room, and closes connections.
            self.move_bytes(now);
            self.take_measures(now);
            self.report_traffic(now);
            self.trim(now);
            more |= self.endpoint.wants_turn(now) || !self.inputs.is_empty();
        }
        self.close(now);
    }

    /// The PC slept: what is overdue gets its time anew, and everybody is looked for.
    fn woke(&mut self, slept: Duration, now: Instant) {
        tracing::info!(?slept, "the PC slept; looking who is still there");
        let (shell, streams) = self.shell(now);
        streams.woke(&shell);
        self.inputs.push_back(Input::Woke);
        let listening = self.listening();
        self.inputs.push_back(listening);
        if let Some(discovery) = &self.discovery {
            discovery.look_again();
        }
    }

    /// Lets packets gather, if the endpoint wants that: sleeps past the poll, which would report each of them. Timers, and whoever
    /// wakes the reactor, end the sleep. The time afterwards.
    fn rest(&mut self, now: Instant) -> Instant {
        let Some(until) = self.endpoint.rests_until(now) else { return now };
        // The turn itself took a part of it.
        let now = now_outside_the_engine();
        let rest = until.saturating_duration_since(now).min(self.timeout(now).unwrap_or(Duration::MAX));
        if rest.is_zero() {
            return now;
        }
        let until = now + rest;
        std::thread::park_timeout(self.endpoint.until_tick(rest, now));
        let now = now_outside_the_engine();
        self.endpoint.rested(until, now);
        now
    }

    /// How long to poll at most; `None`: until something happens.
    fn timeout(&mut self, now: Instant) -> Option<Duration> {
        let next = [
            self.engine.poll_timeout(),
            self.endpoint.next_timeout(now),
            self.streams.next_deadline(),
            self.stopping,
            self.traffic.next_timeout(),
            self.trim_at,
        ];
        next.into_iter().flatten().min().map(|at| self.endpoint.until_tick(at.saturating_duration_since(now), now))
    }

    /// Tells listeners how fast game data moves, and the engine what was sent, once a second while there is something to tell.
    fn report_traffic(&mut self, now: Instant) {
        let totals = Totals { received: self.engine.bytes_received(), sent: self.streams.counters.sent };
        let Some(Report { event, sent }) = self.traffic.look(totals, now) else { return };
        self.emit(event);
        if sent > 0 {
            self.inputs.push_back(Input::SentBytes { bytes: sent });
        }
    }

    /// Gives the buffers back some time after the last transfer: a daemon that does nothing holds nothing.
    fn trim(&mut self, now: Instant) {
        let pools = [&self.landing_pool, &self.read_pool];
        let idle = pools.iter().all(|pool| pool.in_use() == 0) && pools.iter().any(|pool| pool.allocated() > 0);
        match self.trim_at {
            _ if !idle => self.trim_at = None,
            None => self.trim_at = Some(now + BUFFERS_LINGER),
            Some(at) if at <= now => {
                pools.iter().for_each(|pool| pool.trim());
                self.trim_at = None;
            }
            Some(_) => {}
        }
    }

    /// Takes messages of the other threads; returns whether some are left.
    fn take_mail(&mut self) -> bool {
        let mut budget = MAIL_BUDGET;
        while budget > 0 {
            budget -= 1;
            if let Ok(Order { command, reply }) = self.order_queue.try_recv() {
                self.next_command += 1;
                let id = CommandId(self.next_command);
                self.repliers.insert(id, reply);
                self.inputs.push_back(Input::Command { id, command });
            } else if let Ok(event) = self.sighting_queue.try_recv() {
                self.sighted(event);
            } else {
                break;
            }
        }
        let changes = self.watcher.as_mut().map(Watcher::drain).unwrap_or_default();
        self.inputs.extend(changes.into_iter().map(|event| match event {
            FsEvent::Game(game) => Input::FsChanged { game },
            FsEvent::Root => Input::FsRescan { reason: "the game directory changed" },
            FsEvent::Overflow => Input::FsRescan { reason: "file events were lost" },
        }));
        budget == 0
    }

    fn sighted(&mut self, event: DiscoveryEvent) {
        self.inputs.push_back(match event {
            DiscoveryEvent::Sighted(seen) => Input::Sighting(Sighting {
                peer_id: seen.peer_id,
                addrs: seen.addrs,
                proto_ver: seen.proto_ver,
                stamp: seen.stamp,
                hostname: seen.hostname,
            }),
            DiscoveryEvent::Gone { peer_id } => Input::SightingGone { peer_id },
            DiscoveryEvent::Interfaces => self.listening(),
        });
    }

    fn listening(&self) -> Input {
        Input::Listening { addrs: addresses::reachable(&self.endpoint.local_addrs()) }
    }

    /// Moves bytes between connections, buffers and workers.
    fn move_bytes(&mut self, now: Instant) {
        self.workers_done(now);
        self.mirrors_done();
        let (mut shell, streams) = self.shell(now);
        streams.expire(&mut shell);
        let mut connections_changed = false;
        while let Some(event) = shell.endpoint.poll_event() {
            connections_changed |= matches!(event, Event::Up { .. } | Event::Down { .. });
            match event {
                Event::Readable { conn, stream } => streams.readable(&mut shell, conn, stream),
                Event::Writable { conn } => streams.writable(&mut shell, conn),
                Event::StreamStopped { conn, stream, .. } => streams.stopped(&mut shell, conn, stream),
                Event::Up { conn, peer_id, remote, local, dial } => {
                    streams.connected(conn, dial.is_some(), now);
                    let (dial, party) = (dial.map(DialId), shell.endpoint.party_proofs(conn));
                    let (id, interface) = (ConnId(conn.0), kind_between(local, remote));
                    let up = Input::ConnectionUp { conn: id, peer_id, remote, local, interface, dial, party };
                    shell.inputs.push_back(up);
                    shell.tell_round_trip(conn);
                }
                Event::DialFailed { dial, identity_mismatch, actual, reason } => {
                    let dial = DialId(dial);
                    shell.inputs.push_back(Input::DialFailed { dial, identity_mismatch, actual, reason });
                }
                Event::Down { conn, code, reason } => {
                    streams.disconnected(conn, shell.inputs);
                    let code = code.and_then(CloseCode::from_number);
                    shell.inputs.push_back(Input::ConnectionDown { conn: ConnId(conn.0), code, reason });
                }
            }
        }
        streams.read_ahead_all(&mut shell);
        if let Some(discovery) = self.discovery.as_ref().filter(|_| connections_changed) {
            discovery.connected(self.streams.connection_count());
        }
        self.submit();
    }

    fn shell(&mut self, now: Instant) -> (Shell<'_>, &mut Streams) {
        let shell = Shell {
            now,
            config: &self.config,
            endpoint: &mut self.endpoint,
            inputs: &mut self.inputs,
            tasks: &mut self.tasks,
            landing_pool: &self.landing_pool,
            read_pool: &self.read_pool,
        };
        (shell, &mut self.streams)
    }

    /// Hands waiting tasks to the workers, those of one kind in order, as far as its queue goes: names that nobody
    /// resolves must not keep chunks from being written.
    fn submit(&mut self) {
        for _ in 0..self.tasks.len() {
            let Some(task) = self.tasks.pop_front() else { break };
            if let Err(task) = self.workers.try_submit(task) {
                self.tasks.push_back(task);
            }
        }
    }

    fn workers_done(&mut self, now: Instant) {
        while let Some(done) = self.workers.try_next() {
            let (mut shell, streams) = self.shell(now);
            match done {
                TaskDone::Job(done) => self.job_done(done),
                TaskDone::Written(done) => {
                    streams.counters.written(done.bad.len());
                    shell.inputs.push_back(Input::BatchDone {
                        download: done.download,
                        request: RequestId(done.token),
                        range: done.batch.range,
                        bad: done.bad,
                        error: done.error,
                    });
                }
                TaskDone::Opened(opened) => streams.game_opened(&mut shell, opened),
                TaskDone::Read(done) => streams.block_read(&mut shell, done),
                TaskDone::CatalogFetched(keeper, result) => {
                    self.keeper = Some(keeper);
                    let result = result.map_err(|error| catalog_error(&error));
                    self.inputs.push_back(Input::CatalogFetched { result });
                }
                TaskDone::Computed(parsed) => streams.parsed_elsewhere(&mut shell, parsed),
            }
        }
        self.inputs.extend(self.workers.take_lost().map(|reason| Input::DirectoryGone { reason }));
        let progress = self.workers.take_progress();
        self.inputs.extend(progress.into_iter().map(|(game, done, total)| Input::JobProgress { game, done, total }));
    }

    fn job_done(&mut self, done: JobDone) {
        match &done {
            JobDone::DownloadPrepared { download, result: Err(_) }
            | JobDone::DownloadCommitted { download, .. }
            | JobDone::DownloadAbandoned { download, .. } => {
                self.plans.remove(download);
            }
            JobDone::LibraryClosed => self.watcher = None,
            JobDone::LibraryOpened(Ok(opened)) if opened.was_open && self.watcher.is_some() => {}
            JobDone::LibraryOpened(Ok(opened)) => {
                let wake = self.wake.clone();
                let wake = Arc::new(move || wake.wake());
                // The old one first: two directories could need more watches than there are.
                self.watcher = None;
                let started = Watcher::start(&opened.dir, self.config.limits.max_watches, wake);
                let degraded = started.map(|watcher| self.watcher = Some(watcher)).err();
                self.watching(degraded);
            }
            _ => {}
        }
        self.inputs.push_back(Input::JobDone(done));
    }

    /// Feeds the engine and carries out what it says, until both are quiet.
    fn decide(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.inputs.push_back(Input::Timeout);
        }
        while let Some(input) = self.inputs.pop_front() {
            tracing::trace!(?input, "engine");
            self.engine.handle(input, now);
            while let Some(output) = self.engine.poll_output() {
                self.perform(output, now);
            }
        }
        self.submit();
    }

    fn perform(&mut self, output: Output, now: Instant) {
        tracing::trace!(?output, "engine");
        let (mut shell, streams) = self.shell(now);
        match output {
            Output::Measure { id, load } => {
                let metrics = Box::new(self.metrics(&load, now));
                if let Some(reply) = self.repliers.remove(&id) {
                    reply(Ok(CommandData::Metrics(metrics)));
                }
            }
            Output::Dial { dial, addr, expect } => self.endpoint.dial(dial.0, addr, expect, now),
            Output::Close { conn, code, reason } => {
                shell.endpoint.close(Conn(conn.0), code.number(), reason, now);
                streams.closed(Conn(conn.0));
            }
            Output::MirrorManifest { request, mirror, game, manifest_hash } => {
                self.mirrors.manifest(mirror, request.0, game, manifest_hash);
            }
            Output::Ask { request, conn, body } => streams.ask(&mut shell, request, conn, &body),
            Output::MirrorFetch { request, mirror, download, range } => {
                self.fetch_from_mirror(mirror, request, download, range);
            }
            Output::Fetch { request, conn, download, content_hash, range } => {
                let plan = self.plans.get(&download).map(Arc::clone);
                let (mut shell, streams) = self.shell(now);
                streams.fetch(&mut shell, request, conn, download, plan, content_hash, range);
            }
            Output::Cancel { request } => {
                streams.cancel(&mut shell, request);
                self.mirrors.cancel(request.0);
            }
            Output::Notify { conn, body } => streams.notify(&mut shell, conn, &body),
            Output::Answer { to, body } => streams.answer(&mut shell, to, &body),
            Output::SendManifest { to, game, manifest_hash, content_hash, dirs } => {
                let files = send::Files { game, manifest_hash, download: None };
                streams.send_manifest(&mut shell, to, files, content_hash, dirs);
            }
            Output::SendChunks { to, request, download } => {
                streams.send_chunks(&mut shell, to, *request, download);
            }
            Output::StopSending { game } => streams.stop_sending_game(&mut shell, &game),
            Output::LimitUpload { rate } => streams.limit_upload(rate),
            Output::Job(job) => self.start_job(job),
            Output::AskMirror { mirror, ask } => self.mirrors.ask(mirror, ask),
            Output::FetchCatalog => self.tasks.extend(self.keeper.take().map(Task::FetchCatalog)),
            Output::CancelHash { game } => self.workers.cancel_hash(&game),
            Output::CancelJob { game } => self.workers.cancel_operation(&game),
            Output::Watch { game } => {
                let Some(watcher) = &mut self.watcher else { return };
                let degraded = watcher.watch(&game).err();
                self.watching(degraded);
            }
            Output::Unwatch { game } => {
                let Some(watcher) = &mut self.watcher else { return };
                watcher.unwatch(&game);
                // The watch that is free now may serve a game that went without.
                let degraded = watcher.retry();
                self.watching(degraded);
            }
            Output::Advertise { stamp } => {
                if let Some(discovery) = &self.discovery {
                    discovery.advertise(stamp);
                }
            }
            Output::Reply { id, result } => {
                if let Some(reply) = self.repliers.remove(&id) {
                    reply(*result);
                }
            }
            Output::Event(event) => self.emit(*event),
            Output::Stopped { failure } => {
                self.stopping = Some(now + self.config.timers.shutdown_grace);
                // The first reason is the one that counts.
                failure.into_iter().for_each(|why| drop(self.failure.set(why)));
            }
        }
    }

    fn start_job(&mut self, job: Job) {
        if let Job::PrepareDownload { download, plan, .. } = &job {
            self.plans.insert(*download, Arc::clone(plan));
        }
        self.tasks.push_back(Task::Job(job));
    }

    /// Tells the engine when the way of watching changes.
    fn watching(&mut self, degraded: Option<Degraded>) {
        let complete = self.watcher.as_ref().is_some_and(|watcher| watcher.missing() == 0);
        if complete != self.watching {
            self.watching = complete;
            let message = degraded.map(|degraded| degraded.message);
            self.inputs.push_back(Input::WatchDegraded { message });
        }
    }

    /// Hands an event to the subscriber; what does not fit is shed and counted, and said once there is room.
    fn emit(&mut self, event: PeerEvent) {
        if self.lost_events > 0 {
            let message = format!("{} events were not read in time and are lost", self.lost_events);
            let notice = PeerEvent::RuntimeError { code: crate::api::ErrorCode::Timeout, message };
            if queue::try_send(&self.events, EVENT_QUEUE, notice).is_ok() {
                self.lost_events = 0;
            }
        }
        // Progress comes again; what happens once must still find room behind it.
        if event.is_progress() && self.events.len() >= EVENT_QUEUE / 2 {
            return;
        }
        if let Err(TrySendError::Full(_)) = queue::try_send(&self.events, EVENT_QUEUE, event) {
            self.lost_events += 1;
        }
    }

    /// Closes every connection; the other threads end with their owners.
    fn close(mut self, now: Instant) {
        if let Some(discovery) = self.discovery.take() {
            discovery.shutdown();
        }
        for conn in self.streams.connections() {
            self.endpoint.close(conn, CloseCode::Shutdown.number(), "the daemon stops", now);
        }
        self.endpoint.flush(now);
        // What is left unanswered must be dropped, which answers it, before the events end.
        drop(self.order_queue);
        drop(self.repliers);
        drop(self.workers);
        drop(self.events);
    }
}

fn catalog_error(error: &CatalogError) -> JobError {
    let kind = match error {
        CatalogError::Signature { .. } | CatalogError::Older { .. } => JobErrorKind::Verification,
        _ => JobErrorKind::Io,
    };
    JobError::new(kind, error.to_string())
}

/// The reactor is the shell: it reads the clock once a turn and hands it down.
#[expect(clippy::disallowed_methods, reason = "the one place where the time enters")]
fn now_outside_the_engine() -> Instant {
    Instant::now()
}
