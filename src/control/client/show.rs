//! Answers in words. Everything that may come from another PC is made harmless for a terminal first.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::api::{
    Accepted, BannedSource, BufferMetrics, Connected, Diagnosis, Explanation, GameFiles, GameList, GameRow,
    LibraryTooLarge, LimitState, Metrics, MirrorRow, PeerCommand, PeerList, ProgramList, Status, WatchState,
};
use crate::control::human::{printable, size, steers};
use crate::types::{ChunkIndex, InstalledBy, LeftOut, Packing};

use super::follow::Stage;

/// Widest column in terminal cells.
const MAX_WIDTH: usize = 40;

/// A value as text on one line.
pub(super) fn text(value: impl Display) -> String {
    printable(&value.to_string())
}

/// The same; nothing for what is not known.
fn perhaps<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map(text).unwrap_or_default()
}

/// A word of the vocabulary, as it is in JSON.
pub(super) fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
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
pub(super) fn limits(limits: &LimitState) -> String {
    format!("{}\n", limits_of(limits))
}

fn limits_of(limits: &LimitState) -> String {
    let rate = |rate: Option<u64>| rate.map_or_else(|| "unlimited".to_owned(), |rate| format!("{}/s", size(rate)));
    format!("upload {}, download {}", rate(limits.max_upload), rate(limits.max_download))
}

/// For `metrics`: what a person looks for; the rest is in the JSON.
pub(super) fn metrics(metrics: &Metrics) -> String {
    let buffers = |of: &BufferMetrics| format!("{} of {} (at most {})", of.in_use, of.limit, of.peak);
    let seconds = |seconds: f64| format!("{seconds:.2} s");
    let network = &metrics.network;
    let packets = |packets: u64, calls: u64| format!("{packets} in {calls} calls");
    let lost = format!("{} packets, {} sent again", network.packets_lost, size(network.retransmitted_bytes));
    let mut lines = vec![
        ("up".to_owned(), seconds(metrics.uptime_seconds)),
        ("CPU".into(), metrics.cpu_seconds.map_or_else(|| "unknown".into(), seconds)),
        ("received".into(), size(metrics.bytes_received)),
        ("sent".into(), size(metrics.bytes_sent)),
        ("landing buffers".into(), buffers(&metrics.landing_buffers)),
        ("read buffers".into(), buffers(&metrics.read_buffers)),
        ("packets sent".into(), packets(network.packets_sent, network.send_calls)),
        ("packets received".into(), packets(network.packets_received, network.receive_calls)),
        ("lost".into(), lost),
    ];
    for sync in metrics.syncs.iter().filter(|sync| sync.calls > 0) {
        let (took, longest) = (seconds(sync.seconds), seconds(sync.longest_seconds));
        lines.push((
            format!("fsync of {}", text(&sync.what)),
            format!("{} calls, {took} (longest {longest})", sync.calls),
        ));
    }
    for queue in metrics.queues.iter().filter(|queue| queue.waiting > 0) {
        lines.push((format!("queue {}", text(&queue.queue)), format!("{} of {}", queue.waiting, queue.limit)));
    }
    for stall in metrics.stalls.iter().filter(|stall| stall.events > 0) {
        let waited = format!("{} ({} times)", seconds(stall.seconds), stall.events);
        lines.push((format!("waited for {}", stall.cause.name()), waited));
    }
    lines.iter().map(|(name, value)| format!("{name:<27}{value}\n")).collect()
}

/// For `status`.
pub(super) fn status(status: &Status) -> String {
    let addrs: Vec<String> = status.listen_addrs.iter().map(text).collect();
    let operations: Vec<String> =
        status.operations.iter().map(|row| format!("{} {}", word(row.operation), text(&row.game))).collect();
    let peers = match status.peers_incompatible.len() {
        0 => status.peers_connected.to_string(),
        n => format!("{} ({n} more with another version)", status.peers_connected),
    };
    let watch = match status.watch {
        WatchState::Polling => " (the system has no file watches left: changes are seen by scans)",
        WatchState::Watching | WatchState::Later => "",
    };
    let gone = status.game_dir_gone.as_ref().map(|reason| format!(" is gone: {}", text(reason))).unwrap_or_default();
    let paused = if status.paused { "; transfers are paused" } else { "" };
    let running = if operations.is_empty() { "nothing".into() } else { operations.join(", ") } + paused;
    let mut lines = vec![
        ("version", text(&status.version)),
        ("peer", text(status.peer_id)),
        ("listening on", addrs.join(", ")),
        ("game directory", text(status.game_dir.display()) + &gone),
        ("games", format!("{}, revision {}{watch}", status.games, status.library_rev)),
        ("to be hashed", status.hash_queue.to_string()),
        ("peers", peers),
        ("received", size(status.bytes_received)),
        ("sent", size(status.bytes_sent)),
        ("limits", limits_of(&status.limits)),
        ("running", running),
    ];
    lines.extend(status.sources_banned.iter().map(|row| ("banned", banned(row))));
    lines.extend(status.libraries_too_large.iter().map(|row| ("left out", too_large(row))));
    lines.extend(status.mirrors.iter().map(|row| ("mirror", mirror(row))));
    lines.iter().map(|(name, value)| format!("{name:<16}{value}\n")).collect()
}

fn mirror(row: &MirrorRow) -> String {
    let state = if row.reachable { "reachable" } else { "not reachable" };
    format!("{}, {state}, {} games, {}", text(&row.url), row.games, row.peer_id)
}

/// A library that takes too much memory.
fn too_large(row: &LibraryTooLarge) -> String {
    let who = row.hostname.as_ref().map_or_else(|| text(row.peer_id), text);
    let (games, bytes, addr) = (row.games, size(row.bytes as u64), perhaps(&row.addr));
    format!("the library of {who} at {addr}: its {games} games would take {bytes} of memory")
}

/// For `why`.
pub(super) fn explanation(why: &Explanation) -> String {
    let mut lines = format!("{}: {}\n", text(&why.game), text(&why.reason));
    for row in &why.sources {
        let hostname = || row.hostname.as_ref().map(text);
        let name = row.url.as_ref().map(text).or_else(hostname).unwrap_or_else(|| text(row.peer_id));
        let rate = match row.bytes_per_second {
            0 => String::new(),
            rate => format!(", {}/s", size(rate)),
        };
        lines += &format!("  {name}: {}: {}{rate}\n", word(row.state), text(&row.reason));
    }
    lines
}

/// One source that a download gave up.
fn banned(row: &BannedSource) -> String {
    let ago = duration(row.when_ms / 1000);
    format!("{} as a source of {}, {ago} ago: {}", row.peer_id, text(&row.game), ban_reason(&row.reason, row.chunk))
}

/// Why a source was given up, with the chunk if it was for that.
pub(super) fn ban_reason(reason: &str, chunk: Option<ChunkIndex>) -> String {
    match chunk {
        Some(ChunkIndex(chunk)) => format!("{} (chunk {chunk})", text(reason)),
        None => text(reason),
    }
}

/// For `peers`.
pub(super) fn peers(answer: &PeerList) -> String {
    let mut table = Table::new(&["NAME", "ADDRESS", "STATE", "OVER", ">RTT", ">GAMES", "SEEN", "PEER"]);
    for row in &answer.peers {
        let seen = row.last_seen_ms.map(|ms| format!("{} ago", duration(ms / 1000))).unwrap_or_default();
        let state = if row.connected { "connected" } else { "away" };
        let name = match perhaps(&row.hostname) {
            name if name.is_empty() => "?".to_owned(),
            name => name,
        };
        let trip = row.rtt_ms.map(|ms| format!("{ms:.2} ms")).unwrap_or_default();
        let (addr, over, games) = (perhaps(&row.addr), word(row.interface), row.game_count.to_string());
        table.row([name, addr, state.into(), over, trip, games, seen, text(row.peer_id)]);
    }
    table.or("no peers: nobody was found on this network yet")
}

/// For `games`.
pub(super) fn games(answer: &GameList) -> String {
    // The state comes last, where its reasons are not cut.
    let mut table = Table::new(&["ID", "NAME", "VERSION", ">SIZE", ">PEERS", "STATE"]);
    for row in &answer.games {
        let (bytes, peers) = (size(row.size), row.peer_count.to_string());
        table.row([text(&row.id), text(&row.name), perhaps(&row.version), bytes, peers, game_state(row)]);
    }
    table.or("no games, neither here nor at other PCs")
}

fn game_state(row: &GameRow) -> String {
    if let Some(operation) = row.operation {
        let operation = word(operation);
        return match row.progress {
            Some(progress) => format!("{operation} {:.0} %", (progress * 100.0).floor()),
            None => operation,
        };
    }
    let here = match (row.installed, row.downloaded) {
        _ if row.arriving => "arriving",
        (true, _) => "installed",
        (false, true) => "downloaded",
        (false, false) if !row.sources.is_empty() => "available",
        (false, false) => "not here",
    };
    let mut state = here.to_owned();
    if row.installed && row.installed_by == Some(InstalledBy::SomebodyElse) {
        state += ", not by lanspread";
    }
    state += &match row.other_content_peers {
        0 => String::new(),
        1 => ", another content at 1 PC".to_owned(),
        n => format!(", another content at {n} PCs"),
    };
    if row.changed {
        state += ", changed here";
    }
    if let Some(reason) = &row.unavailable_reason {
        state += &format!(": {}", text(reason));
    }
    if let Some(reason) = &row.local_only_reason {
        state += &format!(", not shared: {}", text(reason));
    }
    if let Some(files) = &row.leaves_out {
        state += &format!(", {}", left_out(files));
    }
    state
}

/// What of a game's folder is no part of the game.
fn left_out(files: &LeftOut) -> String {
    let first = text(&files.first);
    match files.count {
        1 => format!("without {first}, which is no part of it"),
        count => format!("without {count} files or folders that are no part of it ({first}, …)"),
    }
}

/// For `doctor`.
pub(super) fn findings(answer: &Diagnosis) -> String {
    let mut lines = String::new();
    for finding in &answer.findings {
        let (code, message, remedy) = (word(finding.code), text(&finding.message), text(&finding.remedy));
        lines.push_str(&format!("{code}: {message}\n  → {remedy}\n"));
    }
    if lines.is_empty() { "nothing is wrong as far as can be seen from here\n".into() } else { lines }
}

/// For `programs`.
pub(super) fn programs(answer: &ProgramList) -> String {
    let mut lines = String::new();
    for program in &answer.programs {
        let mark = if answer.chosen.as_ref() == Some(program) { "  (chosen)" } else { "" };
        lines.push_str(&format!("{}{mark}\n", text(program)));
    }
    if lines.is_empty() { "nothing in it can be started here\n".into() } else { lines }
}

/// For `get`.
pub(super) fn files(answer: &GameFiles) -> String {
    let mut table = Table::new(&[">SIZE", "FILE"]);
    table.max_width = usize::MAX;
    for file in &answer.files {
        table.row([size(file.size), text(&file.path)]);
    }
    for dir in &answer.dirs {
        table.row(["empty".to_owned(), format!("{}/", text(dir))]);
    }
    let (count, sources, total) = (answer.files.len(), answer.sources.len(), size(answer.bytes));
    let here = answer.leaves_out.as_ref().map(|files| format!("the game here is {}\n", left_out(files)));
    let how = match answer.installs_by {
        Packing::Unpack => "unpacking its archives",
        Packing::Copy => "copying its files",
        Packing::CopyAndUnpack => "unpacking its .eti archives and copying all else",
    };
    let here = here.unwrap_or_default();
    format!("{}{count} files, {total}, from {sources} source(s), installed by {how}\n{here}", table.or("no files"))
}

/// For `connect`.
pub(super) fn connected(answer: &Connected) -> String {
    format!("connected to {} at {}\n", answer.peer_id, answer.addr)
}

/// For an operation that `command` started.
pub(super) fn accepted(command: &PeerCommand, answer: &Accepted) -> String {
    let how = if answer.queued { "waits for a free slot" } else { "begins" };
    format!("{}: {} {how}\n", text(&answer.game), Stage::of(command).noun())
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
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use crate::types::PeerId;

    /// A record of this JSON, and of `more`.
    fn record<T: DeserializeOwned>(mut json: Value, more: Value) -> T {
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_spki_sha256(&[number; 32])
    }

    #[test]
    fn columns_align_by_what_a_terminal_shows() {
        let row = |more| -> GameRow {
            let row =
                json!({"downloaded": false, "installed": false, "peer_count": 3, "sources": [], "a_later_field": 1});
            record(row, more)
        };
        let games = vec![
            row(json!({"id": "doom", "name": "東京\u{1b}[2J", "version": "1", "size": 1024, "downloaded": true})),
            row(json!({"id": "long", "name": "x".repeat(60), "size": 1u64 << 40, "operation": "downloading",
                "progress": 0.999, "peer_count": 12, "sources": [peer(1)], "installs_by": "a-later-way"})),
        ];
        let text = super::games(&GameList { games });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let column = |line: &str, what: &str| line[..line.find(what).unwrap()].width();
        let ends = [column(lines[0], "  STATE"), column(lines[1], "  downloaded"), column(lines[2], "  downloading")];
        assert!(ends.iter().all(|end| *end == ends[0]), "the numbers before it are aligned to the right: {text}");
        assert_eq!(column(lines[0], "VERSION"), column(lines[1], "1  "));
        assert!(lines[1].contains("downloaded") && lines[2].contains("downloading 99 %"), "{text}");
        assert!(lines[2].contains("xxx…"), "{text}");
        assert_eq!(super::games(&GameList { games: vec![] }).lines().count(), 1);
    }

    #[test]
    fn the_way_to_a_peer_is_shown_as_far_as_it_is_known() {
        let row = |more| record(json!({"library_epoch": null, "library_rev": null}), more);
        let peers = vec![
            row(
                json!({"hostname": "a", "addr": "10.0.0.1:4000", "connected": true, "game_count": 1, "last_seen_ms": 0,
             "peer_id": peer(1), "rtt_ms": 0.316, "interface": "wired"}),
            ),
            row(
                json!({"hostname": "b", "addr": "10.0.0.2:4000", "connected": false, "game_count": 2, "last_seen_ms": null,
             "peer_id": peer(2)}),
            ),
        ];
        let text = super::peers(&PeerList { peers });
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let (one, two) = (peer(1).to_string(), peer(2).to_string());
        assert_eq!(words[0], ["NAME", "ADDRESS", "STATE", "OVER", "RTT", "GAMES", "SEEN", "PEER"]);
        assert_eq!(words[1], ["a", "10.0.0.1:4000", "connected", "wired", "0.32", "ms", "1", "0", "s", "ago", &one]);
        assert_eq!(words[2], ["b", "10.0.0.2:4000", "away", "2", &two]);
    }

    #[test]
    fn a_source_that_was_banned_is_shown_with_the_reason() {
        let ban = |chunk| BannedSource {
            game: "doom".parse().unwrap(),
            peer_id: peer(1),
            reason: "b\u{1b}d".into(),
            chunk,
            when_ms: 61_000,
        };
        let line = format!("{} as a source of doom, 1 min 01 s ago: b\u{fffd}d", peer(1));
        assert_eq!(banned(&ban(None)), line);
        assert_eq!(banned(&ban(Some(ChunkIndex(7)))), line + " (chunk 7)");
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
