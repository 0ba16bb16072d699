use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::Done;

/// What was written, line by line.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn records(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A daemon that answers `{}` to everything, tells of its start and stops when it is told to.
fn daemon() -> (impl Commands, Receiver<PeerEvent>, Receiver<PeerCommand>) {
    let (event, events) = crossbeam_channel::unbounded();
    let (heard, commands) = crossbeam_channel::unbounded();
    let event = Arc::new(Mutex::new(Some(event)));
    let send = move |command: PeerCommand, reply: Reply| {
        let mut event = event.lock().unwrap();
        let Some(sender) = event.as_ref() else { return Err(Stopped) };
        let _ = heard.send(command.clone());
        if command == PeerCommand::Status {
            sender.send(PeerEvent::RuntimeError { code: ErrorCode::Io, message: "told".into() }).unwrap();
        }
        reply(Ok(CommandData::Done(Done {})));
        if command == PeerCommand::Shutdown {
            *event = None;
        }
        Ok(())
    };
    (send, events, commands)
}

/// All records for an input that then ends.
fn talk(input: Vec<u8>) -> Vec<Value> {
    let (commands, events, _) = daemon();
    let output = Output::default();
    serve(io::Cursor::new(input), output.clone(), commands, events).unwrap().join().unwrap();
    output.records()
}

#[test]
fn each_line_gets_its_record_and_the_end_of_the_input_stops_the_daemon() {
    let long = format!("{{\"id\":1,\"cmd\":\"status\",\"x\":\"{}\"}}", "x".repeat(MAX_LINE));
    let lines: Vec<&[u8]> = vec![
        br#"{"id":1,"cmd":"status"}"#,
        br#"{"id":{"a":[1]},"cmd":"list-games"}"#,
        br#"{"cmd":"download","game":"../x"}"#,
        br#"{"id":"3","cmd":"defragment","game":"x"}"#,
        b"not json",
        b"[1]",
        b"",
        b"\xff\xfe",
        long.as_bytes(),
        b"{\"id\":9,\"cmd\":\"list-peers\"}\r",
    ];
    let records = talk(lines.join(&b'\n'));
    let answers: Vec<_> = records.iter().filter(|r| r["type"] != "event").cloned().collect();
    assert_eq!(answers[0], json!({"type": "result", "id": 1, "cmd": "status", "data": {}}));
    assert_eq!(answers[1], json!({"type": "result", "id": {"a": [1]}, "cmd": "list-games", "data": {}}));
    let codes: Vec<_> = answers.iter().map(|r| r["code"].as_str().unwrap_or("ok")).collect();
    let expected = "ok ok bad-argument unknown-command bad-json bad-json bad-json bad-json bad-json ok";
    assert_eq!(codes.join(" "), expected, "in the order of the lines");
    assert_eq!(answers[2]["id"], Value::Null);
    assert_eq!((&answers[3]["id"], &answers[3]["cmd"]), (&json!("3"), &json!("defragment")));
    assert_eq!(answers[4]["cmd"], Value::Null);
    let events: Vec<_> = records.iter().filter(|r| r["type"] == "event").cloned().collect();
    assert_eq!(events, [json!({"type": "event", "event": "runtime-error", "code": "io", "message": "told"})]);
}

#[test]
fn a_line_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let fill = |len: usize| {
        let frame = r#"{"cmd":"status","id":""}"#.len();
        format!("{{\"cmd\":\"status\",\"id\":\"{}\"}}\n", "i".repeat(len - frame)).into_bytes()
    };
    let answers = |input| talk(input).into_iter().filter(|r| r["type"] != "event").collect::<Vec<_>>();
    assert_eq!(answers(fill(MAX_LINE))[0]["type"], "result");
    let both = answers([fill(MAX_LINE + 1), fill(100)].concat());
    assert_eq!((&both[0]["code"], &both[1]["type"]), (&json!("bad-json"), &json!("result")));
}

#[test]
fn an_output_that_nobody_reads_stops_the_daemon() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (commands, events, heard) = daemon();
    // The input stays open: only the closed output can end this.
    let (input, mut keyboard) = io::pipe().unwrap();
    let writer = serve(input, Closed, commands, events).unwrap();
    keyboard.write_all(b"{\"cmd\":\"status\"}\n").unwrap();
    writer.join().unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [PeerCommand::Status, PeerCommand::Shutdown]);
}

#[test]
fn a_command_that_the_daemon_drops_is_still_answered() {
    let held: Arc<Mutex<VecDeque<Reply>>> = Arc::default();
    let (event, events) = crossbeam_channel::unbounded::<PeerEvent>();
    let event = Arc::new(Mutex::new(Some(event)));
    let commands = {
        let held = Arc::clone(&held);
        move |command: PeerCommand, reply: Reply| {
            held.lock().unwrap().push_back(reply);
            if command == PeerCommand::Shutdown {
                // Stops without answering anything.
                held.lock().unwrap().clear();
                *event.lock().unwrap() = None;
            }
            Ok(())
        }
    };
    let output = Output::default();
    let input = io::Cursor::new(b"{\"id\":5,\"cmd\":\"wait-peers\",\"count\":1,\"timeout_ms\":9}\n".to_vec());
    serve(input, output.clone(), commands, events).unwrap().join().unwrap();
    let records = output.records();
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["id"], &records[0]["code"]), (&json!(5), &json!("cancelled")));
}

#[test]
fn progress_is_shed_when_nobody_reads_and_nothing_else_is() {
    let (event, events) = crossbeam_channel::unbounded();
    for _ in 0..3 * MANY_EVENTS {
        let game = "q".parse().unwrap();
        event.send(PeerEvent::DownloadProgress { game, bytes: 1, total: 2, bytes_per_second: 3, sources: 1 }).unwrap();
        event.send(PeerEvent::RuntimeError { code: ErrorCode::Io, message: String::new() }).unwrap();
    }
    drop(event);
    let output = Output::default();
    let (input, _keyboard) = io::pipe().unwrap();
    let commands = |_: PeerCommand, _: Reply| Err(Stopped);
    serve(input, output.clone(), commands, events).unwrap().join().unwrap();
    let records = output.records();
    let count = |name: &str| records.iter().filter(|r| r["event"] == name).count();
    assert_eq!(count("runtime-error"), 3 * MANY_EVENTS);
    assert!(count("download-progress") <= MANY_EVENTS, "{}", count("download-progress"));
}

/// Lines that resemble commands, and noise.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let names = prop::sample::select(vec!["status", "download", "wait-peers", "connect", "set-game-dir", "x", ""]);
    let values =
        prop::sample::select(vec!["1", "null", "\"q\"", "[[]]", "-1e400", "1e308", "\"\\u0000\"", "{}", "\"\\ud800\""]);
    let fields = prop::sample::select(vec!["id", "game", "count", "timeout_ms", "addr", "path", "install"]);
    let command = (names, prop::collection::vec((fields, values), 0..4)).prop_map(|(name, fields)| {
        let fields: String = fields.iter().map(|(field, value)| format!(",\"{field}\":{value}")).collect();
        format!("{{\"cmd\":\"{name}\"{fields}}}").into_bytes()
    });
    prop_oneof![noise, command].prop_map(|mut line| {
        line.retain(|byte| *byte != b'\n');
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_input_gets_exactly_one_record_for_each_line(lines in prop::collection::vec(line(), 1..40)) {
        let mut input = lines.join(&b'\n');
        input.push(b'\n');
        let answers = talk(input).into_iter().filter(|r| r["type"] != "event").count();
        prop_assert_eq!(answers, lines.len());
    }
}
