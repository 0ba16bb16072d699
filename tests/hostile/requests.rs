//! Streams and requests of a peer that does not keep to the rules, or does not read its answers.

use super::*;
use crate::support::frame;

fn ping(nonce: u64) -> Value {
    json!({"type": "Ping", "nonce": nonce})
}

/// Sends bytes on a stream, all of them.
fn send(stranger: &mut Stranger, stream: u64, bytes: &[u8], fin: bool) {
    let mut sent = 0;
    stranger
        .drive("room to send", |conn| {
            sent += conn.stream_send(stream, &bytes[sent..], fin).unwrap_or(0);
            (sent == bytes.len()).then_some(())
        })
        .unwrap();
}

#[test]
fn frames_that_break_the_rules_cost_the_connection_and_nothing_else() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &Options::local());

    let _ = guest(&daemon).request_raw(&[0xff, 0xff, 0xff, 0xff]);
    let mut stranger = guest(&daemon);
    let _ = stranger.request_raw(&[0xff, 0xff, 0xff, 0xff, b'{']);
    assert_eq!(stranger.wait_close(), closed(5), "a frame of 4 GiB");

    let mut stranger = guest(&daemon);
    let mut bytes = frame(&ping(1));
    bytes.extend_from_slice(b"and more");
    let _ = stranger.request_raw(&bytes);
    assert_eq!(stranger.wait_close(), closed(4), "bytes after the end of a message");

    let mut stranger = guest(&daemon);
    let bytes = frame(&ping(1));
    let _ = stranger.request_raw(&bytes[..bytes.len() - 3]);
    assert_eq!(stranger.wait_close(), closed(4), "the end in the middle of a frame");

    still_well(&daemon);
    still_serves(&home, &daemon);
}

#[test]
fn an_unfinished_frame_is_not_waited_for_however_it_drips() {
    let (_home, daemon) = daemon(GameSpec::small("doom"), &Options::local().set("timers.request_timeout", "1s"));
    let mut stranger = guest(&daemon);
    let stream = stranger.new_stream();
    let bytes = frame(&json!({"type": "Ping", "nonce": 1, "padding": "x".repeat(1000)}));
    let (mut sent, mut last) = (0, Instant::now());
    let ending = stranger.drive::<()>("the close", |conn| {
        if last.elapsed() > Duration::from_millis(100) {
            sent += conn.stream_send(stream, &bytes[sent..=sent], false).unwrap_or(0);
            last = Instant::now();
        }
        None
    });
    assert_eq!(ending, Err(closed(8)));
    still_well(&daemon);
}

#[test]
fn streams_without_end_are_limited_and_given_up() {
    let (_home, daemon) = daemon(GameSpec::small("doom"), &Options::local().set("timers.request_timeout", "1s"));
    let mut stranger = guest(&daemon);
    let mut opened = 0;
    stranger
        .drive("streams", |conn| {
            opened += (1..=1000).filter(|n| conn.stream_send(n * 4, b"\0", false).is_ok()).count();
            Some(())
        })
        .unwrap();
    assert!((1..1000).contains(&opened), "{opened} streams were allowed");
    assert_eq!(stranger.wait_close(), closed(8));
    still_well(&daemon);
}

#[test]
fn what_comes_late_on_a_stream_that_is_over_is_no_new_request() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &Options::local().set("timers.request_timeout", "1s"));
    let mut stranger = guest(&daemon);
    let doom = doom(&mut stranger);
    for request in [ping(1), get_chunks(&doom, 0, 1), json!({"type": "GetDreams"})] {
        let stream = stranger.new_stream();
        let bytes = frame(&request);
        send(&mut stranger, stream, &bytes, false);
        let mut buffer = vec![0; 1 << 16];
        stranger
            .drive("the whole answer", |conn| {
                while let Ok((_, fin)) = conn.stream_recv(stream, &mut buffer) {
                    if fin {
                        return Some(());
                    }
                }
                None
            })
            .unwrap();
        // The end of the request, after the answer; the daemon may have said that it does not care.
        let mut done = false;
        stranger
            .drive("the end", |conn| {
                if !std::mem::replace(&mut done, true) {
                    let _ = conn.stream_send(stream, b"", true);
                }
                Some(())
            })
            .unwrap();
        assert_eq!(stranger.request(&ping(2)).unwrap().0["type"], "Pong");
    }
    // Given up in the middle of the request, and of the answer.
    let unfinished = stranger.new_stream();
    send(&mut stranger, unfinished, b"\0\0\0\x20{", false);
    let unread = stranger.new_stream();
    send(&mut stranger, unread, &frame(&get_chunks(&doom, 0, 3)), true);
    for (stream, early) in [(unfinished, true), (unread, false)] {
        stranger
            .drive("a reset", |conn| {
                let _ = conn.stream_shutdown(stream, quiche::Shutdown::Read, 0);
                if early {
                    let _ = conn.stream_shutdown(stream, quiche::Shutdown::Write, 0);
                }
                Some(())
            })
            .unwrap();
    }
    // Past every deadline of what was given up: the connection stands.
    let until = Instant::now() + Duration::from_millis(1500);
    stranger.drive("time", |_| (Instant::now() > until).then_some(())).unwrap();
    assert_eq!(stranger.request(&ping(3)).unwrap().0["nonce"], 3);
    still_serves(&home, &daemon);
}

#[test]
fn peers_that_do_not_read_their_runs_slow_nobody_else() {
    let game = GameSpec::new("doom").file("doom.pak", 48 * MIB);
    let (home, daemon) = daemon(game, &Options::local());
    {
        // A run that does not end shows in the status all the same.
        let mut first = guest(&daemon);
        let doom = doom(&mut first);
        let stream = first.new_stream();
        send(&mut first, stream, &frame(&get_chunks(&doom, 0, 40)), true);
        eventually("the run is under way", 10, || (daemon.status()["bytes_sent"].as_u64()? > 0).then_some(()));
    }
    let mut hoarders: Vec<Stranger> = (0..14).map(|_| guest(&daemon)).collect();
    for hoarder in &mut hoarders {
        let doom = doom(hoarder);
        for i in 0..64 {
            let stream = hoarder.new_stream();
            send(hoarder, stream, &frame(&get_chunks(&doom, i % 40, 8)), true);
        }
        // Lets the daemon fill the windows; nothing of it is read.
        let until = Instant::now() + Duration::from_millis(100);
        hoarder.drive("time", |_| (Instant::now() > until).then_some(())).unwrap();
    }
    let started = Instant::now();
    still_well(&daemon);
    still_serves(&home, &daemon);
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(8), "an honest peer waited {elapsed:?}: as long as the idle ones are borne");
    assert!(memory(&daemon) < 160 * MIB, "{} bytes", memory(&daemon));
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let game = GameSpec::new("doom").many(4000, 1);
    let (home, daemon) = daemon(game, &Options::local().set("limits.frame_bytes", "4MiB"));
    // Most of each answer stays with the daemon.
    let mut stranger = Stranger::connect_with_window(daemon.addr, 64 << 10);
    stranger.hello();
    let doom = doom(&mut stranger);
    let ask = json!({"type": "GetManifest", "game_id": "doom", "manifest_hash": doom["manifest_hash"]});
    let mut kinds = Vec::new();
    for _ in 0..20 {
        let stream = stranger.new_stream();
        send(&mut stranger, stream, &frame(&ask), true);
        let (mut head, mut buffer) = (Vec::new(), [0; 100]);
        stranger
            .drive("the head of an answer", |conn| {
                if let Ok((len, _)) = conn.stream_recv(stream, &mut buffer) {
                    head.extend_from_slice(&buffer[..len]);
                }
                (head.len() > 40).then_some(())
            })
            .unwrap();
        kinds.push(String::from_utf8_lossy(&head).contains("\"busy\""));
    }
    assert!(!kinds[0], "the first is answered");
    assert!(kinds.contains(&true), "in the end the daemon says that it is enough");
    still_well(&daemon);
    still_serves(&home, &daemon);
}
