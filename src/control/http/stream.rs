//! The event stream (server-sent events, HTML Living Standard, section 9.2): a snapshot, then every event. A reader that
//! does not keep up gets another snapshot instead of what it missed.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};
use serde::Serialize;

use crate::api::{CommandError, ErrorCode};
use crate::control::{Commands, Fanout};

use super::response::{Refusal, head};
use super::routes::snapshot;

/// An empty line after so much silence shows whether anybody still listens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The same once the reader has closed its side: one that is gone answers the first line with a reset, the second then
/// fails, and its place is free.
const DOUBT: Duration = Duration::from_millis(20);
/// Bytes of the stack of a thread that only reads.
const STACK: usize = 64 << 10;
/// What the system may hold for a reader that does not read, in bytes.
const SEND_BUFFER: usize = 128 << 10;

/// Sends events until the reader goes away, reads nothing for as long as a write may take, or the daemon has stopped.
pub(super) fn serve(mut stream: &TcpStream, commands: &impl Commands, fanout: &Fanout) -> Result<(), Refusal> {
    // Before the snapshot: an event in between is told twice rather than not at all.
    let subscription = fanout.subscribe();
    let first = snapshot(commands)?;
    let _ = socket2::SockRef::from(stream).set_send_buffer_size(SEND_BUFFER);
    let mut answer = head(200, "text/event-stream");
    answer.push_str("\r\nretry: 2000\n\n");
    let closed = watch(stream)?;
    let mut closed = Some(&closed);
    let mut sent = stream.write_all(answer.as_bytes()).and_then(|()| send(stream, &first));
    drop(first);
    let nothing = never();
    let mut quiet = KEEP_ALIVE;
    while sent.is_ok() {
        sent = select! {
            recv(subscription.events()) -> event => match event {
                Ok(_) if subscription.catch_up() => match snapshot(commands) {
                    Ok(snapshot) => send(stream, &snapshot),
                    Err(_) => break,
                },
                Ok(event) => send(stream, &event),
                Err(_) => break,
            },
            recv(closed.unwrap_or(&nothing)) -> _ => {
                (closed, quiet) = (None, DOUBT);
                comment(stream)
            }
            default(quiet) => {
                quiet = KEEP_ALIVE;
                comment(stream)
            }
        };
    }
    // Ends the thread that watches, too.
    let _ = stream.shutdown(Shutdown::Both);
    Ok(())
}

/// A channel that closes when the reader has closed its side of the connection, or all of it. Without that, the place of
/// a reader that went away would be taken until there is something to write.
fn watch(stream: &TcpStream) -> Result<Receiver<()>, Refusal> {
    let failed = |error: io::Error| {
        Refusal::from(CommandError::new(ErrorCode::Io, format!("the connection cannot be watched: {error}")))
    };
    let mut reader = stream.try_clone().map_err(failed)?;
    reader.set_read_timeout(None).map_err(failed)?;
    let (open, closed) = crossbeam_channel::bounded(0);
    let until_closed = move || {
        let mut ignored = [0; 512];
        while reader.read(&mut ignored).is_ok_and(|count| count > 0) {}
        drop(open);
    };
    let thread = std::thread::Builder::new().name("http-reader".into()).stack_size(STACK).spawn(until_closed);
    thread.map(|_| closed).map_err(failed)
}

fn comment(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(b":\n\n")
}

/// JSON has no line break, so that one `data` field holds it.
fn send(mut stream: &TcpStream, event: &impl Serialize) -> io::Result<()> {
    let mut text = b"data: ".to_vec();
    serde_json::to_writer(&mut text, event)?;
    text.extend_from_slice(b"\n\n");
    stream.write_all(&text)
}
