//! From the daemon's one queue of events to any number of readers, none of which can hold up another.
//!
//! ```text
//! daemon ─▶ one queue ─▶ fan-out thread ─┬─▶ queue of 8192 ─▶ JSON lines, terminal   (lost ones are counted and named)
//!                                        ├─▶ queue of 256 ──▶ event stream           (marked: it takes a new snapshot)
//!                                        └─▶ queue of 256 ──▶ event stream
//! ```
//!
//! The thread sleeps until there is an event or a newcomer; it never waits for a reader.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select_biased, unbounded};

use crate::api::{ErrorCode, PeerEvent};
use crate::queue;

/// Events that may wait for a reader that is told how many it lost.
const NOTICE_QUEUE: usize = 8192;
/// Events that may wait for a reader that takes a snapshot instead of what it lost.
const STREAM_QUEUE: usize = 256;

/// Where readers of events register; cheap to clone.
#[derive(Clone)]
pub struct Fanout {
    newcomers: Sender<Reader>,
}

/// The fan-out before it runs.
pub struct Idle {
    newcomers: Receiver<Reader>,
}

/// The events from some moment on, for a reader that makes up for a loss with a snapshot.
pub struct Subscription {
    events: Receiver<PeerEvent>,
    lagging: Arc<AtomicBool>,
}

impl Subscription {
    /// The queue; it closes when the daemon has stopped.
    pub fn events(&self) -> &Receiver<PeerEvent> {
        &self.events
    }

    /// Whether events were lost since the last call. If so, what waits is dropped: a snapshot that is taken after this
    /// call knows all of it.
    pub fn catch_up(&self) -> bool {
        let lagging = self.lagging.swap(false, Ordering::AcqRel);
        if lagging {
            // As many as fit, so that a busy daemon cannot keep the reader here.
            for _ in 0..STREAM_QUEUE {
                if self.events.try_recv().is_err() {
                    break;
                }
            }
        }
        lagging
    }
}

/// A fan-out that does not run yet: whoever registers before [`Idle::start`] misses nothing.
pub fn fan_out() -> (Fanout, Idle) {
    // Readers are few: those who register them bound their number.
    let (sender, newcomers) = unbounded();
    (Fanout { newcomers: sender }, Idle { newcomers })
}

impl Idle {
    /// Starts the thread. It ends when `source` does, and with it every reader's queue. `control` is the address of
    /// the HTTP door, which goes into [`PeerEvent::LocalPeerReady`].
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(self, source: Receiver<PeerEvent>, control: Option<String>) -> io::Result<()> {
        std::thread::Builder::new()
            .name("fanout".into())
            .spawn(move || run(&source, self.newcomers, control.as_ref()))?;
        Ok(())
    }
}

impl Fanout {
    /// A queue in which a loss is followed by a [`PeerEvent::RuntimeError`] that says how much was lost.
    pub fn events(&self) -> Receiver<PeerEvent> {
        let (queue, events) = unbounded();
        let _ = self.newcomers.send(Reader { queue, on_loss: OnLoss::Notice { lost: 0 } });
        events
    }

    /// A short queue that is marked when something was lost.
    pub fn subscribe(&self) -> Subscription {
        let (queue, events) = bounded(STREAM_QUEUE);
        let lagging = Arc::new(AtomicBool::new(false));
        let _ = self.newcomers.send(Reader { queue, on_loss: OnLoss::Mark(Arc::clone(&lagging)) });
        Subscription { events, lagging }
    }
}

struct Reader {
    queue: Sender<PeerEvent>,
    on_loss: OnLoss,
}

enum OnLoss {
    Notice { lost: u64 },
    Mark(Arc<AtomicBool>),
}

fn run(source: &Receiver<PeerEvent>, newcomers: Receiver<Reader>, control: Option<&String>) {
    let mut readers: Vec<Reader> = Vec::new();
    // Nobody can register any more: that branch would be ready for ever.
    let mut newcomers = Some(newcomers);
    let nobody = crossbeam_channel::never();
    loop {
        select_biased! {
            // First, so that who registered before an event gets it.
            recv(newcomers.as_ref().unwrap_or(&nobody)) -> reader => match reader {
                Ok(reader) => readers.push(reader),
                Err(_) => newcomers = None,
            },
            recv(source) -> event => match event {
                Ok(mut event) => {
                    if let PeerEvent::LocalPeerReady { control: door, .. } = &mut event {
                        *door = control.cloned();
                    }
                    readers.retain_mut(|reader| reader.take(&event));
                }
                // The readers' queues close, and those of latecomers at once.
                Err(_) => return,
            },
        }
    }
}

impl Reader {
    /// Hands the event over, or notes its loss. `false`: nobody reads any more.
    fn take(&mut self, event: &PeerEvent) -> bool {
        match &mut self.on_loss {
            OnLoss::Mark(lagging) => {
                if lagging.load(Ordering::Acquire) {
                    return true;
                }
                match self.queue.try_send(event.clone()) {
                    Ok(()) => true,
                    Err(TrySendError::Full(_)) => {
                        lagging.store(true, Ordering::Release);
                        true
                    }
                    Err(TrySendError::Disconnected(_)) => false,
                }
            }
            OnLoss::Notice { lost } => {
                if *lost > 0 {
                    let message = format!("{lost} events were not read in time and are lost");
                    let notice = PeerEvent::RuntimeError { code: ErrorCode::Io, message };
                    if queue::try_send(&self.queue, NOTICE_QUEUE, notice).is_ok() {
                        *lost = 0;
                    }
                }
                match queue::try_send(&self.queue, NOTICE_QUEUE, event.clone()) {
                    Ok(()) => true,
                    Err(TrySendError::Full(_)) => {
                        *lost += 1;
                        true
                    }
                    Err(TrySendError::Disconnected(_)) => false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PeerId;

    fn discovered(n: usize) -> PeerEvent {
        let addr = ([10, 0, (n >> 8) as u8, n as u8], 1).into();
        PeerEvent::PeerDiscovered { peer_id: PeerId::from_spki_sha256(&[1; 32]), addr }
    }

    #[test]
    fn every_reader_gets_every_event_and_the_end() {
        let (fanout, idle) = fan_out();
        let (one, two) = (fanout.events(), fanout.subscribe());
        let (source, events) = bounded(16);
        idle.start(events, Some("http://127.0.0.1:1".into())).unwrap();
        let listen_addr = ([10, 0, 0, 1], 1).into();
        let peer_id = PeerId::from_spki_sha256(&[1; 32]);
        source.send(PeerEvent::LocalPeerReady { peer_id, listen_addr, control: None }).unwrap();
        source.send(discovered(1)).unwrap();
        drop(source);
        let ready = PeerEvent::LocalPeerReady { peer_id, listen_addr, control: Some("http://127.0.0.1:1".into()) };
        let expected = [ready, discovered(1)];
        assert_eq!(one.iter().collect::<Vec<_>>(), expected);
        assert_eq!(two.events().iter().collect::<Vec<_>>(), expected);
        assert!(!two.catch_up());
        assert!(fanout.subscribe().events().recv().is_err(), "a latecomer sees the end as well");
    }

    #[test]
    fn a_reader_that_does_not_read_is_marked_and_holds_nobody_up() {
        let (fanout, idle) = fan_out();
        let (slow, deaf) = (fanout.subscribe(), fanout.events());
        let brisk = fanout.events();
        let (source, events) = bounded(0);
        idle.start(events, None).unwrap();
        let many = NOTICE_QUEUE + 100;
        for n in 0..many {
            source.send(discovered(n)).unwrap();
            assert_eq!(brisk.recv().unwrap(), discovered(n));
        }
        assert_eq!((slow.events().len(), deaf.len()), (STREAM_QUEUE, NOTICE_QUEUE), "the queues are bounded");
        assert!(slow.catch_up());
        assert!(!slow.catch_up() && slow.events().is_empty());
        deaf.recv().unwrap();
        deaf.recv().unwrap();
        source.send(discovered(7)).unwrap();
        drop(source);
        assert_eq!(slow.events().iter().collect::<Vec<_>>(), [discovered(7)], "it goes on after the snapshot");
        let rest: Vec<_> = deaf.iter().collect();
        let [.., PeerEvent::RuntimeError { message, .. }, last] = &rest[..] else { panic!("{rest:?}") };
        assert!(message.starts_with("100 events"), "{message}");
        assert_eq!(*last, discovered(7));
    }
}
