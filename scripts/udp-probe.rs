//! The latency of a running game, for `scripts/bench-guard`: one small UDP packet every few milliseconds, sent back by the
//! other side. Needs nothing but the standard library: `rustc -O scripts/udp-probe.rs`.
//!
//! - `udp-probe echo ADDR`: sends back whatever comes, until it is killed.
//! - `udp-probe ping ADDR SECONDS`: prints the round-trip times in microseconds, one a line, in the order of sending; `lost` for
//!   a packet that did not come back within a second.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(15);
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["echo", addr] => echo(addr),
        ["ping", addr, seconds] => ping(addr, seconds.parse().expect("SECONDS is a number")),
        _ => {
            eprintln!("usage: udp-probe echo ADDR | udp-probe ping ADDR SECONDS");
            std::process::exit(2);
        }
    }
}

fn echo(addr: &str) -> std::io::Result<()> {
    let socket = UdpSocket::bind(addr)?;
    let mut buffer = [0; 64];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        let _ = socket.send_to(&buffer[..len], from);
    }
}

fn ping(addr: &str, seconds: f64) -> std::io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(addr)?;
    let began = Instant::now();
    let count = (seconds / EVERY.as_secs_f64()) as u32;
    let mut sent = Vec::new();
    let mut times: Vec<Option<Duration>> = vec![None; count as usize];
    let until = began + EVERY * count + PATIENCE;
    loop {
        let now = Instant::now();
        let next = began + EVERY * sent.len() as u32;
        let sending = (sent.len() as u32) < count;
        if now >= until || (!sending && times.iter().all(Option::is_some)) {
            break;
        }
        if sending && now >= next {
            let mut packet = [0; 64];
            packet[..4].copy_from_slice(&(sent.len() as u32).to_be_bytes());
            sent.push(now);
            let _ = socket.send(&packet);
            continue;
        }
        let wait = if sending { next } else { until } - now;
        socket.set_read_timeout(Some(wait.max(Duration::from_micros(50))))?;
        let mut packet = [0; 64];
        if socket.recv(&mut packet).is_ok_and(|len| len == 64) {
            let number = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]) as usize;
            if let (Some(at), Some(time)) = (sent.get(number), times.get_mut(number)) {
                *time = Some(at.elapsed());
            }
        }
    }
    for time in times {
        match time {
            Some(time) => println!("{}", time.as_micros()),
            None => println!("lost"),
        }
    }
    Ok(())
}
