//! What the subscriber is told. The one place where events are shed.

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::api::{ErrorCode, PeerEvent};
use crate::queue;

/// Events that a subscriber may leave unread before some are shed.
pub(super) const EVENT_QUEUE: usize = 8192;

/// The way to whoever reads the events.
pub(super) struct Subscriber {
    queue: Sender<PeerEvent>,
    /// Events that found no room.
    lost: u64,
}

impl Subscriber {
    /// And the end that it reads.
    pub(super) fn new() -> (Self, Receiver<PeerEvent>) {
        let (queue, receiver) = crossbeam_channel::unbounded();
        (Self { queue, lost: 0 }, receiver)
    }

    /// Events that wait to be read.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Hands an event over; what does not fit is shed and counted, and said once there is room.
    pub(super) fn tell(&mut self, event: PeerEvent) {
        if self.lost > 0 {
            let message = format!("{} events were not read in time and are lost", self.lost);
            let notice = PeerEvent::RuntimeError { code: ErrorCode::Timeout, message };
            if queue::try_send(&self.queue, EVENT_QUEUE, notice).is_ok() {
                self.lost = 0;
            }
        }
        // Progress comes again; what happens once must still find room behind it.
        if event.is_progress() && self.queue.len() >= EVENT_QUEUE / 2 {
            return;
        }
        if let Err(TrySendError::Full(_)) = queue::try_send(&self.queue, EVENT_QUEUE, event) {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> PeerEvent {
        PeerEvent::Traffic { bytes_received: 0, bytes_sent: 0, receiving: 0, sending: 0 }
    }

    fn error(message: &str) -> PeerEvent {
        PeerEvent::RuntimeError { code: ErrorCode::Io, message: message.to_owned() }
    }

    #[test]
    fn progress_leaves_room_and_what_is_lost_is_counted_and_said() {
        assert!(progress().is_progress());
        let (mut subscriber, events) = Subscriber::new();
        for _ in 0..2 * EVENT_QUEUE {
            subscriber.tell(progress());
        }
        assert_eq!(subscriber.waiting(), EVENT_QUEUE / 2);
        for _ in 0..EVENT_QUEUE / 2 + 3 {
            subscriber.tell(error("once"));
        }
        assert_eq!(subscriber.waiting(), EVENT_QUEUE);
        events.try_iter().take(2).for_each(drop);
        subscriber.tell(error("last"));
        let told: Vec<PeerEvent> = events.try_iter().collect();
        let [.., notice, last] = &told[..] else { panic!("{told:?}") };
        let message = "3 events were not read in time and are lost".to_owned();
        assert_eq!(*notice, PeerEvent::RuntimeError { code: ErrorCode::Timeout, message });
        assert_eq!(*last, error("last"));
    }
}
