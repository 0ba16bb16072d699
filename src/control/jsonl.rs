//! JSON lines: one command a line in, one record a line out.
//!
//! ```text
//! stdin ─▶ reader thread ─▶ commands ─▶ daemon ─┬─ answers (at most 256 under way) ─▶ writer thread ─▶ stdout
//!              └─ errors in the line itself ────┼─────────────────────────────────▶      ▲
//!                                               └─ events ────────────────────────────────┘
//! ```
//!
//! The daemon never waits for stdout: answers and events lie in queues. The first are bounded because the reader
//! takes no further line while 256 commands are unanswered; of the second, progress is shed when nobody reads.
//! Each line of input gets exactly one record of type `result` or `error`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, select_biased};
use serde::Serialize;
use serde_json::Value;

use crate::api::{CommandData, CommandError, CommandResult, ErrorCode, PeerCommand, PeerEvent};

use super::parse::json_object;
use super::{Commands, Reply, Stopped, shut_down};

/// Longest line in bytes, without its end.
const MAX_LINE: usize = 64 << 10;
/// Commands that were read and whose answers were not yet written.
const MAX_UNANSWERED: usize = 256;
/// Waiting events from which on progress is shed.
const MANY_EVENTS: usize = 1024;

/// Starts the two threads. The end of the input shuts the daemon down, as does an output that nobody reads any more.
/// The returned writer ends when `events` does, which is when the daemon has stopped; the reader ends with the input.
pub fn serve<C: Commands>(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    commands: C,
    events: Receiver<PeerEvent>,
) -> io::Result<JoinHandle<()>> {
    let (answer, answers) = crossbeam_channel::unbounded();
    let (permit, permits) = crossbeam_channel::bounded(MAX_UNANSWERED);
    let writer = {
        let commands = commands.clone();
        let writer = Writer { output, commands, broken: false, permits };
        std::thread::Builder::new().name("jsonl-out".into()).spawn(move || writer.run(&answers, &events))?
    };
    std::thread::Builder::new().name("jsonl-in".into()).spawn(move || read(input, &commands, &answer, &permit))?;
    Ok(writer)
}

/// One line of output. `id` is the caller's, `null` when there is none.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Record {
    Result { id: Value, cmd: &'static str, data: CommandData },
    Error { id: Value, cmd: Option<String>, code: ErrorCode, message: String },
    Event(PeerEvent),
}

impl Record {
    fn answer(id: Value, cmd: &'static str, result: CommandResult) -> Self {
        match result {
            Ok(data) => Self::Result { id, cmd, data },
            Err(CommandError { code, message }) => Self::Error { id, cmd: Some(cmd.into()), code, message },
        }
    }

    fn bad_json(message: impl Into<String>) -> Self {
        Self::Error { id: Value::Null, cmd: None, code: ErrorCode::BadJson, message: message.into() }
    }

    /// The record as one line, with its end.
    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_else(|error| {
            // A path that is not Unicode, for one. The caller still gets the one record it waits for.
            let (id, cmd) = match self {
                Self::Result { id, cmd, .. } => (id, Some(*cmd)),
                Self::Error { id, cmd, .. } => (id, cmd.as_deref()),
                Self::Event(_) => (&Value::Null, None),
            };
            let message = format!("the record cannot be written as JSON: {error}");
            serde_json::json!({"type": "error", "id": id, "cmd": cmd, "code": ErrorCode::Io, "message": message})
                .to_string()
                .into_bytes()
        });
        line.push(b'\n');
        line
    }
}

fn read<C: Commands>(input: impl Read, commands: &C, answer: &Sender<Record>, permit: &Sender<()>) {
    let mut lines = Lines::new(input);
    let mut line = Vec::new();
    loop {
        let next = lines.next(&mut line);
        if let Next::End = next {
            return shut_down(commands);
        }
        // Waits while too many are unanswered. The writer is gone: so is the daemon.
        if permit.send(()).is_err() {
            return;
        }
        match next {
            Next::TooLong => {
                let _ = answer.send(Record::bad_json(format!("the line is longer than {MAX_LINE} bytes")));
            }
            Next::Line => handle_line(&line, commands, answer),
            Next::End => return,
        }
    }
}

/// Makes sure that one record comes of `line`, now or when the command is answered.
fn handle_line<C: Commands>(line: &[u8], commands: &C, answer: &Sender<Record>) {
    let object = match json_object(line) {
        Ok(object) => object,
        Err(why) => {
            let _ = answer.send(Record::bad_json(format!("the line {why}")));
            return;
        }
    };
    let id = object.get("id").cloned().unwrap_or(Value::Null);
    let command = match PeerCommand::parse(&object) {
        Ok(command) => command,
        Err(CommandError { code, message }) => {
            let cmd = object.get("cmd").and_then(Value::as_str).map(str::to_owned);
            let _ = answer.send(Record::Error { id, cmd, code, message });
            return;
        }
    };
    let pending = Pending { id, cmd: command.name(), answer: Some(answer.clone()) };
    let reply: Reply = Box::new(move |result| pending.settle(result));
    // Whether it is refused or dropped unanswered later: `pending` answers for it.
    let _: Result<(), Stopped> = commands.send(command, reply);
}

/// A command that was handed over. Dropped without an answer, it answers that the daemon has stopped.
struct Pending {
    id: Value,
    cmd: &'static str,
    answer: Option<Sender<Record>>,
}

impl Pending {
    fn settle(mut self, result: CommandResult) {
        self.send(result);
    }

    fn send(&mut self, result: CommandResult) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(Record::answer(std::mem::take(&mut self.id), self.cmd, result));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.send(Err(CommandError::new(ErrorCode::Cancelled, "the daemon stopped before it could answer")));
    }
}

struct Writer<W, C> {
    output: W,
    commands: C,
    /// Nobody reads: everything is dropped until the daemon has stopped.
    broken: bool,
    permits: Receiver<()>,
}

impl<W: Write, C: Commands> Writer<W, C> {
    fn run(mut self, answers: &Receiver<Record>, events: &Receiver<PeerEvent>) {
        // Answers go first: what follows from a command is then never read before its answer.
        loop {
            select_biased! {
                recv(answers) -> record => match record {
                    Ok(record) => self.write_answer(&record),
                    // The input has ended and everything was answered.
                    Err(_) => break,
                },
                recv(events) -> event => match event {
                    Ok(event) => self.write_event(event, events.len()),
                    Err(_) => break,
                },
            }
        }
        // Whichever ended first, the other may still hold something; a stopped daemon has dropped what it owed.
        for event in events.iter() {
            self.write_event(event, events.len());
        }
        for record in answers.try_iter() {
            self.write_answer(&record);
        }
    }

    fn write_answer(&mut self, record: &Record) {
        self.write(record);
        let _ = self.permits.try_recv();
    }

    fn write_event(&mut self, event: PeerEvent, waiting: usize) {
        if waiting < MANY_EVENTS || !event.is_progress() {
            self.write(&Record::Event(event));
        }
    }

    fn write(&mut self, record: &Record) {
        if self.broken {
            return;
        }
        if let Err(error) = self.output.write_all(&record.line()).and_then(|()| self.output.flush()) {
            tracing::info!(%error, "nobody reads the output any more; shutting down");
            self.broken = true;
            shut_down(&self.commands);
        }
    }
}

/// What came of reading a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Line,
    TooLong,
    End,
}

/// Cuts the input into lines without ever holding more than [`MAX_LINE`] bytes of one.
struct Lines<R> {
    input: BufReader<R>,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Self {
        Self { input: BufReader::new(input) }
    }

    /// Puts the next line, without its end, into `line`. A last line without an end counts.
    fn next(&mut self, line: &mut Vec<u8>) -> Next {
        line.clear();
        let mut too_long = false;
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => &[],
            };
            if buffer.is_empty() {
                return match (too_long, line.is_empty()) {
                    (true, _) => Next::TooLong,
                    (false, true) => Next::End,
                    (false, false) => Next::Line,
                };
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if line.len() + part.len() > MAX_LINE {
                too_long = true;
                line.clear();
            } else if !too_long {
                line.extend_from_slice(part);
            }
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                return if too_long { Next::TooLong } else { Next::Line };
            }
        }
    }
}

#[cfg(test)]
mod tests;
