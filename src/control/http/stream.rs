//! The event stream (server-sent events, HTML Living Standard, section 9.2): a snapshot, then every event. A reader that
//! does not keep up gets another snapshot instead of what it missed.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use serde::Serialize;

use crate::control::{Commands, Fanout};

use super::response::{Refusal, head};
use super::routes::Snapshot;

/// An empty line after so much silence shows whether anybody still listens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What the system may hold for a reader that does not read, in bytes.
const SEND_BUFFER: usize = 128 << 10;

/// Sends events until the reader goes away, reads nothing for as long as a write may take, or the daemon has stopped.
pub(super) fn serve(mut stream: &TcpStream, commands: &impl Commands, fanout: &Fanout) -> Result<(), Refusal> {
    // Before the snapshot: an event in between is told twice rather than not at all.
    let subscription = fanout.subscribe();
    let first = Snapshot::take(commands)?;
    let _ = socket2::SockRef::from(stream).set_send_buffer_size(SEND_BUFFER);
    let mut answer = head(200, "text/event-stream");
    answer.push_str("\r\nretry: 2000\n\n");
    let mut sent = stream.write_all(answer.as_bytes()).and_then(|()| send(stream, &first));
    drop(first);
    while sent.is_ok() {
        sent = match subscription.events().recv_timeout(KEEP_ALIVE) {
            Ok(_) if subscription.catch_up() => match Snapshot::take(commands) {
                Ok(snapshot) => send(stream, &snapshot),
                Err(_) => break,
            },
            Ok(event) => send(stream, &event),
            Err(RecvTimeoutError::Timeout) => stream.write_all(b":\n\n"),
            Err(RecvTimeoutError::Disconnected) => break,
        };
    }
    Ok(())
}

/// JSON has no line break, so that one `data` field holds it.
fn send(mut stream: &TcpStream, event: &impl Serialize) -> io::Result<()> {
    let mut text = b"data: ".to_vec();
    serde_json::to_writer(&mut text, event)?;
    text.extend_from_slice(b"\n\n");
    stream.write_all(&text)
}
