//! Answers in words. Everything that may come from another PC is made harmless for a terminal first.

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::control::human::{printable, size, steers};

/// Widest column in terminal cells.
const MAX_WIDTH: usize = 40;

/// A value as text on one line; nothing for `null`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// JSON on one line. What could steer a terminal is escaped, which means the same to a parser.
pub(super) fn json_line(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        // Such characters stand in strings only; those beyond 16 bits are not among them.
        if steers(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line
}

/// For `limits`.
pub(super) fn limits(limits: &Value) -> String {
    format!("{}\n", limits_of(limits))
}

fn limits_of(limits: &Value) -> String {
    let rate = |name: &str| match limits[name].as_u64() {
        Some(rate) => format!("{}/s", size(rate)),
        None => "unlimited".to_owned(),
    };
    format!("upload {}, download {}", rate("max_upload"), rate("max_download"))
}

/// For `metrics`: what a person looks for; the rest is in the JSON.
pub(super) fn metrics(metrics: &Value) -> String {
    let buffers = |name: &str| {
        let of = &metrics[name];
        format!("{} of {} (at most {})", text(&of["in_use"]), text(&of["limit"]), text(&of["peak"]))
    };
    let seconds = |value: &Value| value.as_f64().map_or_else(|| "unknown".into(), |s| format!("{s:.2} s"));
    let network = &metrics["network"];
    let packets = |what: &str, calls: &str| {
        let (packets, calls) = (number(&network[what]), number(&network[calls]));
        format!("{packets} in {calls} calls")
    };
    let lost = format!(
        "{} packets, {} sent again",
        text(&network["packets_lost"]),
        size(number(&network["retransmitted_bytes"]))
    );
    let mut lines = vec![
        ("up".to_owned(), seconds(&metrics["uptime_seconds"])),
        ("CPU".into(), seconds(&metrics["cpu_seconds"])),
        ("received".into(), size(number(&metrics["bytes_received"]))),
        ("sent".into(), size(number(&metrics["bytes_sent"]))),
        ("landing buffers".into(), buffers("landing_buffers")),
        ("read buffers".into(), buffers("read_buffers")),
        ("packets sent".into(), packets("packets_sent", "send_calls")),
        ("packets received".into(), packets("packets_received", "receive_calls")),
        ("lost".into(), lost),
    ];
    for sync in rows(metrics, "syncs").filter(|sync| number(&sync["calls"]) > 0) {
        let (took, longest) = (seconds(&sync["seconds"]), seconds(&sync["longest_seconds"]));
        lines.push((
            format!("fsync of {}", text(&sync["what"])),
            format!("{} calls, {took} (longest {longest})", text(&sync["calls"])),
        ));
    }
    for queue in rows(metrics, "queues").filter(|queue| number(&queue["waiting"]) > 0) {
        lines.push((
            format!("queue {}", text(&queue["queue"])),
            format!("{} of {}", text(&queue["waiting"]), text(&queue["limit"])),
        ));
    }
    for stall in rows(metrics, "stalls").filter(|stall| number(&stall["events"]) > 0) {
        let waited = format!("{} ({} times)", seconds(&stall["seconds"]), text(&stall["events"]));
        lines.push((format!("waited for {}", text(&stall["cause"])), waited));
    }
    lines.iter().map(|(name, value)| format!("{name:<27}{value}\n")).collect()
}

/// For `status`.
pub(super) fn status(status: &Value) -> String {
    let list = |name: &str| -> String {
        let values = status[name].as_array().into_iter().flatten();
        values.map(text).collect::<Vec<_>>().join(", ")
    };
    let operations: Vec<String> =
        rows(status, "operations").map(|row| format!("{} {}", text(&row["operation"]), text(&row["game"]))).collect();
    let incompatible = rows(status, "peers_incompatible").count();
    let peers = match incompatible {
        0 => text(&status["peers_connected"]),
        n => format!("{} ({n} more with another version)", text(&status["peers_connected"])),
    };
    let watch = match status["watch"].as_str() {
        Some("polling") => " (the system has no file watches left: changes are seen by scans)",
        _ => "",
    };
    let gone = status["game_dir_gone"].as_str().map(|reason| format!(" is gone: {reason}")).unwrap_or_default();
    let banned: Vec<String> = rows(status, "sources_banned").map(banned).collect();
    let paused = if status["paused"] == true { "; transfers are paused" } else { "" };
    let running = if operations.is_empty() { "nothing".into() } else { operations.join(", ") } + paused;
    let mut lines = vec![
        ("version", text(&status["version"])),
        ("peer", text(&status["peer_id"])),
        ("listening on", list("listen_addrs")),
        ("game directory", text(&status["game_dir"]) + &gone),
        ("games", format!("{}, revision {}{watch}", text(&status["games"]), text(&status["library_rev"]))),
        ("to be hashed", text(&status["hash_queue"])),
        ("peers", peers),
        ("received", size(number(&status["bytes_received"]))),
        ("sent", size(number(&status["bytes_sent"]))),
        ("limits", limits_of(&status["limits"])),
        ("running", running),
    ];
    lines.extend(banned.into_iter().map(|banned| ("banned", banned)));
    lines.extend(rows(status, "libraries_too_large").map(|row| ("left out", too_large(row))));
    lines.extend(rows(status, "mirrors").map(|row| {
        let state = if row["reachable"] == true { "reachable" } else { "not reachable" };
        ("mirror", format!("{}, {state}, {} games, {}", text(&row["url"]), text(&row["games"]), text(&row["peer_id"])))
    }));
    lines.iter().map(|(name, value)| format!("{name:<16}{value}\n")).collect()
}

/// A library that takes too much memory.
fn too_large(row: &Value) -> String {
    let who = row["hostname"].as_str().map_or_else(|| text(&row["peer_id"]), str::to_owned);
    let (games, bytes) = (text(&row["games"]), size(number(&row["bytes"])));
    format!("the library of {who} at {}: its {games} games would take {bytes} of memory", text(&row["addr"]))
}

/// For `why`.
pub(super) fn explanation(why: &Value) -> String {
    let mut lines = format!("{}: {}\n", text(&why["game"]), text(&why["reason"]));
    for row in rows(why, "sources") {
        let name = [&row["url"], &row["hostname"], &row["peer_id"]].into_iter().find(|name| name.is_string());
        let rate = match number(&row["bytes_per_second"]) {
            0 => String::new(),
            rate => format!(", {}/s", size(rate)),
        };
        let name = name.map(text).unwrap_or_default();
        lines += &format!("  {name}: {}: {}{rate}\n", text(&row["state"]), text(&row["reason"]));
    }
    lines
}

/// One source that a download gave up.
fn banned(row: &Value) -> String {
    let ago = duration(number(&row["when_ms"]) / 1000);
    format!("{} as a source of {}, {ago} ago: {}", text(&row["peer_id"]), text(&row["game"]), ban_reason(row))
}

/// Why a source was given up, with the chunk if it was for that.
pub(super) fn ban_reason(ban: &Value) -> String {
    match ban["chunk"].as_u64() {
        Some(chunk) => format!("{} (chunk {chunk})", text(&ban["reason"])),
        None => text(&ban["reason"]),
    }
}

/// For `peers`.
pub(super) fn peers(answer: &Value) -> String {
    let mut table = Table::new(&["NAME", "ADDRESS", "STATE", "OVER", ">RTT", ">GAMES", "SEEN", "PEER"]);
    for row in rows(answer, "peers") {
        let seen = row["last_seen_ms"].as_u64().map(|ms| format!("{} ago", duration(ms / 1000))).unwrap_or_default();
        let state = if row["connected"] == true { "connected" } else { "away" };
        let name = match text(&row["hostname"]) {
            name if name.is_empty() => "?".to_owned(),
            name => name,
        };
        let trip = row["rtt_ms"].as_f64().map(|ms| format!("{ms:.2} ms")).unwrap_or_default();
        let (addr, over, games) = (text(&row["addr"]), text(&row["interface"]), text(&row["game_count"]));
        table.row([name, addr, state.into(), over, trip, games, seen, text(&row["peer_id"])]);
    }
    table.or("no peers: nobody was found on this network yet")
}

/// For `games`.
pub(super) fn games(answer: &Value) -> String {
    // The state comes last, where its reasons are not cut.
    let mut table = Table::new(&["ID", "NAME", "VERSION", ">SIZE", ">PEERS", "STATE"]);
    for row in rows(answer, "games") {
        let bytes = size(number(&row["size"]));
        let peers = text(&row["peer_count"]);
        table.row([text(&row["id"]), text(&row["name"]), text(&row["version"]), bytes, peers, game_state(row)]);
    }
    table.or("no games, neither here nor at other PCs")
}

fn game_state(row: &Value) -> String {
    if let Some(operation) = row["operation"].as_str() {
        let operation = printable(operation);
        return match row["progress"].as_f64() {
            Some(progress) => format!("{operation} {:.0} %", (progress * 100.0).floor()),
            None => operation,
        };
    }
    let here = match (row["installed"] == true, row["downloaded"] == true) {
        _ if row["arriving"] == true => "arriving",
        (true, _) => "installed",
        (false, true) => "downloaded",
        (false, false) if row["sources"].as_array().is_some_and(|sources| !sources.is_empty()) => "available",
        (false, false) => "not here",
    };
    let mut state = here.to_owned();
    if row["installed"] == true && row["installed_by"] == "somebody-else" {
        state += ", not by lanspread";
    }
    state += &match number(&row["other_content_peers"]) {
        0 => String::new(),
        1 => ", another content at 1 PC".to_owned(),
        n => format!(", another content at {n} PCs"),
    };
    if row["changed"] == true {
        state += ", changed here";
    }
    if let Some(reason) = row["unavailable_reason"].as_str() {
        state += &format!(": {}", printable(reason));
    }
    if let Some(reason) = row["local_only_reason"].as_str() {
        state += &format!(", not shared: {}", printable(reason));
    }
    if let Some(count) = row["leaves_out"]["count"].as_u64() {
        state += &format!(", {}", left_out(count, &row["leaves_out"]));
    }
    state
}

/// What of a game's folder is no part of the game.
fn left_out(count: u64, row: &Value) -> String {
    let first = text(&row["first"]);
    match count {
        1 => format!("without {first}, which is no part of it"),
        _ => format!("without {count} files or folders that are no part of it ({first}, …)"),
    }
}

/// For `doctor`.
pub(super) fn findings(answer: &Value) -> String {
    let mut lines = String::new();
    for finding in rows(answer, "findings") {
        let [code, message, remedy] = ["code", "message", "remedy"].map(|field| text(&finding[field]));
        lines.push_str(&format!("{code}: {message}\n  → {remedy}\n"));
    }
    if lines.is_empty() { "nothing is wrong as far as can be seen from here\n".into() } else { lines }
}

/// For `programs`.
pub(super) fn programs(answer: &Value) -> String {
    let chosen = text(&answer["chosen"]);
    let mut lines = String::new();
    for program in answer["programs"].as_array().into_iter().flatten().map(text) {
        let mark = if program == chosen { "  (chosen)" } else { "" };
        lines.push_str(&format!("{program}{mark}\n"));
    }
    if lines.is_empty() { "nothing in it can be started here\n".into() } else { lines }
}

/// For `get`.
pub(super) fn files(answer: &Value) -> String {
    let mut table = Table::new(&[">SIZE", "FILE"]);
    table.max_width = usize::MAX;
    for file in rows(answer, "files") {
        table.row([size(number(&file["size"])), text(&file["path"])]);
    }
    for dir in answer["dirs"].as_array().into_iter().flatten() {
        table.row(["empty".to_owned(), format!("{}/", text(dir))]);
    }
    let count = rows(answer, "files").count();
    let sources = rows(answer, "sources").count();
    let total = size(number(&answer["bytes"]));
    let here = match answer["leaves_out"]["count"].as_u64() {
        Some(count) => format!("the game here is {}\n", left_out(count, &answer["leaves_out"])),
        None => String::new(),
    };
    let how = match answer["installs_by"].as_str() {
        Some("unpacking") => ", installed by unpacking its archives",
        Some("copying") => ", installed by copying its files",
        Some(_) => ", installed by unpacking its .eti archives and copying all else",
        None => "",
    };
    format!("{}{count} files, {total}, from {sources} source(s){how}\n{here}", table.or("no files"))
}

/// For `connect`.
pub(super) fn connected(answer: &Value) -> String {
    format!("connected to {} at {}\n", text(&answer["peer_id"]), text(&answer["addr"]))
}

/// For an operation that was started, by the name of its command.
pub(super) fn accepted(command: &str, answer: &Value) -> String {
    let how = if answer["queued"] == true { "waits for a free slot" } else { "begins" };
    format!("{}: {} {how}\n", text(&answer["game"]), noun(command))
}

/// What a command starts.
pub(super) fn noun(command: &str) -> &'static str {
    match command {
        "download" => "the download",
        "install" => "the installation",
        "uninstall" => "the removal of the installation",
        "adopt" => "the adoption of the installation",
        "remove" => "the removal of the files",
        _ => "the verification",
    }
}

/// Seconds as a person says them, with two units at most.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn rows<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer[name].as_array().into_iter().flatten()
}

/// Columns aligned by what a terminal shows, not by bytes.
struct Table<const N: usize> {
    /// `>` in front: aligned to the right.
    header: &'static [&'static str; N],
    rows: Vec<[String; N]>,
    max_width: usize,
}

impl<const N: usize> Table<N> {
    fn new(header: &'static [&'static str; N]) -> Self {
        Self { header, rows: Vec::new(), max_width: MAX_WIDTH }
    }

    fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The lines of the table; without rows, this sentence.
    fn or(self, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let titles = self.header.map(|title| title.trim_start_matches('>').to_owned());
        let mut lines = vec![titles];
        for mut row in self.rows {
            // The last column ends at the line's end: it may be as long as it likes.
            for cell in row.iter_mut().rev().skip(1) {
                shorten(cell, self.max_width);
            }
            lines.push(row);
        }
        let mut widths = [0; N];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.width().max(*width);
            }
        }
        let mut out = String::new();
        for line in lines {
            let mut text = String::new();
            for ((cell, width), title) in line.iter().zip(widths).zip(self.header) {
                let pad = " ".repeat(width.saturating_sub(cell.width()));
                let (before, after) = if title.starts_with('>') { (pad, String::new()) } else { (String::new(), pad) };
                text.push_str(&format!("{before}{cell}{after}  "));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Cuts the text to so many cells, the last of which then says so.
fn shorten(text: &mut String, most: usize) {
    if text.width() <= most {
        return;
    }
    while text.width() >= most && text.pop().is_some() {}
    text.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_align_by_what_a_terminal_shows() {
        let games = json!({"games": [
            {"id": "doom", "name": "東京\u{1b}[2J", "version": "1", "size": 1024, "downloaded": true, "peer_count": 3,
             "sources": []},
            {"id": "long", "name": "x".repeat(60), "size": 1u64 << 40, "operation": "downloading", "progress": 0.999,
             "peer_count": 12, "sources": ["a"]},
        ]});
        let text = super::games(&games);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let column = |line: &str, what: &str| line[..line.find(what).unwrap()].width();
        let ends = [column(lines[0], "  STATE"), column(lines[1], "  downloaded"), column(lines[2], "  downloading")];
        assert!(ends.iter().all(|end| *end == ends[0]), "the numbers before it are aligned to the right: {text}");
        assert_eq!(column(lines[0], "VERSION"), column(lines[1], "1  "));
        assert!(lines[1].contains("downloaded") && lines[2].contains("downloading 99 %"), "{text}");
        assert!(lines[2].contains("xxx…"), "{text}");
        assert_eq!(super::games(&json!({"games": []})).lines().count(), 1);
        assert_eq!(super::games(&json!("nonsense")).lines().count(), 1);
    }

    #[test]
    fn the_way_to_a_peer_is_shown_as_far_as_it_is_known() {
        let text = super::peers(&json!({"peers": [
            {"hostname": "a", "addr": "10.0.0.1:4000", "connected": true, "game_count": 1, "last_seen_ms": 0,
             "peer_id": "p1", "rtt_ms": 0.316, "interface": "wired"},
            {"hostname": "b", "addr": "10.0.0.2:4000", "connected": false, "game_count": 2, "last_seen_ms": null,
             "peer_id": "p2"},
        ]}));
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["NAME", "ADDRESS", "STATE", "OVER", "RTT", "GAMES", "SEEN", "PEER"]);
        assert_eq!(words[1], ["a", "10.0.0.1:4000", "connected", "wired", "0.32", "ms", "1", "0", "s", "ago", "p1"]);
        assert_eq!(words[2], ["b", "10.0.0.2:4000", "away", "2", "p2"]);
    }

    #[test]
    fn the_status_names_every_source_that_was_banned() {
        let ban = |chunk: Value| json!({"game": "doom", "peer_id": "p\u{1b}1", "reason": "bad", "chunk": chunk, "when_ms": 61_000});
        let text = super::status(&json!({"sources_banned": [ban(json!(7)), ban(Value::Null)]}));
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("banned")).collect();
        assert_eq!(
            lines,
            [
                "banned          p\u{fffd}1 as a source of doom, 1 min 01 s ago: bad (chunk 7)",
                "banned          p\u{fffd}1 as a source of doom, 1 min 01 s ago: bad",
            ]
        );
        assert!(!super::status(&json!({"sources_banned": []})).contains("banned"));
    }

    #[test]
    fn json_means_the_same_and_steers_nothing() {
        let value = json!({"name": "a\u{9b}31m\u{202e}\u{7f}\"\\\nü東"});
        let line = json_line(&value);
        assert!(!line.chars().any(steers), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [(0, "0 s"), (61, "1 min 01 s"), (3_660, "1 h 01 min"), (90_000, "1 d 01 h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
