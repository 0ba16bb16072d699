//! Mail of other threads: how it reaches the reactor, and what becomes of it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::addresses::reachable;
use super::crew::catalog_error;
use super::{Reactor, mirrors};
use crate::api::{CommandResult, PeerCommand};
use crate::discovery::DiscoveryEvent;
use crate::engine::{CommandId, Input, RequestId, Sighting};
use crate::mirror::Done;
use crate::types::JobDone;
use crate::workers::{Task, TaskDone, WriteBatch};

/// Commands that may wait for the reactor.
pub(super) const COMMAND_QUEUE: usize = 256;
/// Messages of one kind taken in one turn.
const MAIL_BUDGET: usize = 256;

/// Wakes the reactor, from its poll or from its rest; cheap to clone.
#[derive(Clone)]
pub(crate) struct Wake(Arc<Bell>);

struct Bell {
    poll: mio::Waker,
    /// The reactor's; unset until it runs.
    thread: OnceLock<Thread>,
}

impl Wake {
    pub(crate) fn new(poll: mio::Waker) -> Self {
        Self(Arc::new(Bell { poll, thread: OnceLock::new() }))
    }

    /// The calling thread is the reactor's: what wakes its poll also ends its [`std::thread::park`].
    pub(crate) fn runs_here(&self) {
        // A second reactor has no way to this waker.
        let _ = self.0.thread.set(std::thread::current());
    }

    /// Makes the reactor take its next turn now.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.0.poll.wake() {
            tracing::warn!(%error, "cannot wake the reactor");
        }
        // After the poll's, which the reactor looks at when it gets up.
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

/// The sending end of a bounded queue into the reactor.
pub(crate) struct Mailbox<T> {
    queue: Sender<T>,
    wake: Wake,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), wake: self.wake.clone() }
    }
}

impl<T> Mailbox<T> {
    /// A queue of at most `capacity` messages.
    pub(crate) fn new(capacity: usize, wake: Wake) -> (Self, Receiver<T>) {
        let (queue, receiver) = bounded(capacity);
        (Self { queue, wake }, receiver)
    }

    /// Waits for room. `Err`: the reactor has stopped.
    pub(crate) fn send(&self, message: T) -> Result<(), T> {
        self.queue.send(message).map_err(|error| error.0)?;
        self.wake.wake();
        Ok(())
    }

    /// Never waits. `Err`: no room, or the reactor has stopped.
    pub(crate) fn try_send(&self, message: T) -> Result<(), T> {
        self.queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })?;
        self.wake.wake();
        Ok(())
    }
}

/// Called with the answer to a command, on the reactor's thread: it must not block.
pub(crate) type Replier = Box<dyn FnOnce(CommandResult) + Send>;

/// A command on its way in.
pub(crate) struct Order {
    pub(crate) command: PeerCommand,
    pub(crate) reply: Replier,
}

/// Commands that wait, and whoever waits for the answers to those that were taken.
pub(super) struct Orders {
    queue: Receiver<Order>,
    repliers: HashMap<CommandId, Replier>,
    last: u64,
}

impl Orders {
    /// And the way to send some.
    pub(super) fn new(wake: Wake) -> (Mailbox<Order>, Self) {
        let (mailbox, queue) = Mailbox::new(COMMAND_QUEUE, wake);
        (mailbox, Self { queue, repliers: HashMap::new(), last: 0 })
    }

    /// The next command, under a number of its own.
    fn try_next(&mut self) -> Option<Input> {
        let Order { command, reply } = self.queue.try_recv().ok()?;
        self.last += 1;
        let id = CommandId(self.last);
        self.repliers.insert(id, reply);
        Some(Input::Command { id, command })
    }

    /// Answers a command.
    pub(super) fn answer(&mut self, id: CommandId, result: CommandResult) {
        if let Some(reply) = self.repliers.remove(&id) {
            reply(result);
        }
    }

    /// Commands that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl Reactor {
    /// Takes messages of the other threads; returns whether some are left.
    pub(super) fn take_mail(&mut self) -> bool {
        let mut budget = MAIL_BUDGET;
        while budget > 0 {
            budget -= 1;
            if let Some(command) = self.orders.try_next() {
                self.inputs.push_back(command);
            } else if let Some(event) = self.lookout.try_next() {
                self.sighted(event);
            } else {
                break;
            }
        }
        self.inputs.extend(self.watch.changes());
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

    /// Where this host can be reached.
    pub(super) fn listening(&self) -> Input {
        Input::Listening { addrs: reachable(&self.endpoint.local_addrs()) }
    }

    /// Takes what the workers have done.
    pub(super) fn workers_done(&mut self, now: Instant) {
        while let Some(done) = self.crew.try_next() {
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
                    self.crew.catalog_fetched(keeper);
                    let result = result.map_err(|error| catalog_error(&error));
                    self.inputs.push_back(Input::CatalogFetched { result });
                }
                TaskDone::Computed(parsed) => streams.parsed_elsewhere(&mut shell, parsed),
            }
        }
        self.inputs.extend(self.crew.take_lost().map(|reason| Input::DirectoryGone { reason }));
        let progress = self.crew.take_progress();
        self.inputs.extend(progress.into_iter().map(|(game, done, total)| Input::JobProgress { game, done, total }));
    }

    fn job_done(&mut self, done: JobDone) {
        match &done {
            JobDone::LibraryClosed => self.watch.closed(),
            JobDone::LibraryOpened(Ok(opened)) => {
                self.inputs.extend(self.watch.opened(&opened.dir, opened.was_open));
            }
            _ => {}
        }
        self.inputs.push_back(Input::JobDone(done));
    }

    /// Takes what the mirrors brought.
    pub(super) fn mirrors_done(&mut self) {
        while let Some(done) = self.mirrors.try_next() {
            self.inputs.push_back(match done {
                Done::Asked { mirror, ask, result } => {
                    self.mirrors.answered(mirror, &result);
                    Input::MirrorAnswered { mirror, ask, result }
                }
                Done::Manifest { token, result } => {
                    let result = result.map(|game| mirrors::answer(&game)).map_err(mirrors::manifest_failure);
                    Input::Answered { request: RequestId(token), result }
                }
                Done::Landed { token, download, batch, buf } => {
                    self.streams.counters.landed(batch);
                    self.crew.tasks().push_back(Task::Write(WriteBatch { token, download, batch, buf, hashes: None }));
                    Input::BatchLanded { request: RequestId(token), range: batch.range }
                }
                Done::RunDone { token, result } => {
                    let result = result.map_err(mirrors::run_failure);
                    Input::RunDone { request: RequestId(token), result }
                }
            });
        }
    }
}
