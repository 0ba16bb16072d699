//! The tables `[limits]`, `[timers]` and `[transport]`: every setting once, with what it means, its type, its default, and the form
//! in which it is written. The structures, the defaults, the file that `config init` writes and the parser come from here.

use std::time::Duration;

use super::units::{format_duration, format_size, parse_duration, parse_size};
use super::{Config, Congestion};

/// One setting, as text.
pub(super) struct Setting {
    /// `table.name`.
    pub(super) key: &'static str,
    /// What it means: the lines of its documentation.
    pub(super) about: &'static [&'static str],
    /// What is accepted, in words.
    pub(super) form: &'static str,
    /// `None`: the text is not of that form.
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
    /// The value as TOML.
    pub(super) show: fn(&Config) -> String,
}

/// How a value of type `T` is written.
trait Form<T> {
    /// In words, for messages.
    const WORDS: &'static str;
    fn parse(text: &str) -> Option<T>;
    /// As TOML.
    fn show(value: T) -> String;
}

/// A number of things, at least `LEAST`.
struct Count<const LEAST: u64>;
/// A number of bytes.
struct Size;
/// A duration of at least `LEAST` nanoseconds.
struct Span<const LEAST: u64>;
/// Bytes of a UDP payload, or 0.
struct Payload;
/// True or false.
struct Switch;
/// A congestion control algorithm.
struct Algorithm;

macro_rules! settings {
    ($(
        $(#[doc = $purpose:literal])*
        $table:ident: $structure:ident {
            $($(#[doc = $about:literal])* $field:ident: $type:ty = $default:expr, $form:ty;)*
        }
    )*) => {
        $(
            $(#[doc = $purpose])*
            #[derive(Clone, Debug)]
            pub struct $structure {
                $($(#[doc = $about])* pub $field: $type,)*
            }

            impl Default for $structure {
                fn default() -> Self {
                    Self { $($field: $default,)* }
                }
            }
        )*

        /// The tables, each with what it is for.
        pub(super) const TABLES: &[(&str, &[&str])] = &[$((stringify!($table), &[$($purpose),*])),*];

        /// Every setting there is.
        pub(super) const SETTINGS: &[Setting] = &[$($(
            Setting {
                key: concat!(stringify!($table), ".", stringify!($field)),
                about: &[$($about),*],
                form: <$form as Form<$type>>::WORDS,
                set: |config, text| {
                    config.$table.$field = <$form as Form<$type>>::parse(text)?;
                    Some(())
                },
                show: |config| <$form as Form<$type>>::show(config.$table.$field),
            },
        )*)*];
    };
}

settings! {
    /// Upper bounds. Whatever the peers do, nothing grows past these.
    limits: Limits {
        /// Connections, both directions, half open ones included.
        connections: usize = 512, Count<1>;
        /// Handshakes that may be under way before newcomers must show their address by a Retry.
        half_open_before_retry: usize = 32, Count<1>;
        /// Known peers, connected or not.
        peers: usize = 2048, Count<1>;
        /// Dials under way at once.
        dials: usize = 16, Count<1>;
        /// Games in one peer's library.
        games_per_library: usize = 20_000, Count<1>;
        /// Bytes of memory that the libraries of all other peers may take together.
        library_bytes: u64 = 64 << 20, Size;
        /// Landing buffers of 1 MiB: batches requested and not yet written, over all downloads.
        landing_buffers: usize = 24, Count<1>;
        /// Read buffers of 1 MiB: batches read and not yet sent, over all connections.
        read_buffers: usize = 24, Count<1>;
        /// Batches read ahead for one outgoing run.
        read_ahead: usize = 4, Count<1>;
        /// Largest run in bytes.
        run_bytes: u64 = 4 << 20, Size;
        /// Runs that one peer may have outstanding here; further ones are answered `busy`.
        inbound_runs_per_peer: usize = 16, Count<1>;
        /// Runs that go out at once over all peers, and besides one to each peer that has none; twice as many may wait, further
        /// ones are answered `busy`. More than there are read buffers gain nothing, and with all of them in use whoever waits for
        /// one is served within `run_stall` at 100 Mbit/s.
        upload_runs: usize = 32, Count<1>;
        /// Downloads at once; further ones wait.
        downloads: usize = 2, Count<1>;
        /// Worker threads; 0: one per core, at least 2.
        workers: usize = 0, Count<0>;
        /// Bytes of incomplete control frames buffered over all connections.
        frame_bytes: usize = 64 << 20, Size;
        /// File watches; 0: as many as the system gives.
        max_watches: usize = 0, Count<0>;
        /// Revisions of which the changes are kept, to answer with a delta.
        delta_history: usize = 256, Count<1>;
    }
    /// How long everything takes at most, or waits.
    timers: Timers {
        /// Silence after which the peer with the lower id pings.
        ping_after: Duration = Duration::from_secs(60), Span<1>;
        /// Time between the probes of a ping.
        ping_retry: Duration = Duration::from_secs(2), Span<1>;
        /// Silence after which a peer is gone.
        stale_after: Duration = Duration::from_secs(70), Span<1>;
        /// Time for a control request to be answered.
        request_timeout: Duration = Duration::from_secs(10), Span<1>;
        /// Time for a connection to stand, from the dial to HelloAck.
        dial_timeout: Duration = Duration::from_secs(10), Span<1>;
        /// First pause before an address is dialled again; doubles up to `redial_max`.
        redial_min: Duration = Duration::from_secs(1), Span<1>;
        /// Longest such pause.
        redial_max: Duration = Duration::from_secs(60), Span<1>;
        /// Changes of the library are collected for this long.
        delta_coalesce: Duration = Duration::from_millis(500), Span<1>;
        /// A sighting with a new revision waits this long for the push before it asks.
        sighting_grace: Duration = Duration::from_secs(2), Span<1>;
        /// Time between two scans of the whole game directory while some games are not watched; twelve times as long while all are.
        rescan_every: Duration = Duration::from_secs(300), Span<1>;
        /// Time between two looks at the catalog's file or URL.
        catalog_refresh: Duration = Duration::from_secs(300), Span<1>;
        /// Time between two looks at a mirror's list of games; also the longest pause after it could not be reached.
        mirror_refresh: Duration = Duration::from_secs(300), Span<1>;
        /// File events of one game are collected for this long.
        fs_coalesce: Duration = Duration::from_millis(500), Span<1>;
        /// A game that somebody wrote is offered when all its files kept still for this long; zero: at once.
        arriving_quiet: Duration = Duration::from_secs(5), Span<0>;
        /// Time between two progress events of a download.
        progress_every: Duration = Duration::from_millis(500), Span<1>;
        /// A run that brings no byte for this long is given to another source.
        run_stall: Duration = Duration::from_secs(10), Span<1>;
        /// A source that was asked for a manifest and has not answered for this long is joined by the next one.
        manifest_hedge: Duration = Duration::from_secs(2), Span<1>;
        /// How long a download without any source waits for one.
        source_wait: Duration = Duration::from_secs(10), Span<1>;
        /// Standing still for this long counts as sleep of the PC.
        sleep_least: Duration = Duration::from_secs(20), Span<1>;
        /// Time between two looks at the addresses of this host, in whole seconds.
        interface_check: Duration = Duration::from_secs(60), Span<1>;
        /// How long a shutdown waits for goodbyes to leave.
        shutdown_grace: Duration = Duration::from_millis(500), Span<1>;
    }
    /// QUIC: congestion control, windows, packets.
    transport: Transport {
        /// Congestion control.
        congestion: Congestion = Congestion::Bbr2, Algorithm;
        /// Socket buffers to ask the system for, in bytes; what was granted is read back.
        socket_buffer: usize = 4 << 20, Size;
        /// Largest flow-control window of a connection, in bytes.
        max_window: u64 = 4 << 20, Size;
        /// UDP payload in bytes: 1,200 to 65,507. 0: from the interfaces.
        max_payload: usize = 0, Payload;
        /// Hand packets over in trains, which the system or the network card cuts (UDP segmentation offload). False: one by one, for
        /// drivers that get it wrong; a few times the processor time.
        send_offload: bool = true, Switch;
        /// Emulates a clock whose ticks are so far apart: every timer and sleep of the network thread ends on a tick. For tests. Zero: the
        /// system's clock.
        timer_resolution: Duration = Duration::ZERO, Span<0>;
    }
}

impl<const LEAST: u64> Form<usize> for Count<LEAST> {
    const WORDS: &'static str =
        if LEAST == 0 { "a whole number from 0 to 1000000" } else { "a whole number from 1 to 1000000" };

    fn parse(text: &str) -> Option<usize> {
        integer(text).filter(|n| (LEAST..=1_000_000).contains(n))?.try_into().ok()
    }

    fn show(value: usize) -> String {
        value.to_string()
    }
}

impl Form<u64> for Size {
    const WORDS: &'static str = "a size from 64KiB to 64GiB, such as 4MiB";

    fn parse(text: &str) -> Option<u64> {
        parse_size(text).filter(|n| (64 << 10..=64 << 30).contains(n))
    }

    fn show(value: u64) -> String {
        format!("\"{}\"", format_size(value))
    }
}

impl Form<usize> for Size {
    const WORDS: &'static str = <Self as Form<u64>>::WORDS;

    fn parse(text: &str) -> Option<usize> {
        <Self as Form<u64>>::parse(text)?.try_into().ok()
    }

    fn show(value: usize) -> String {
        <Self as Form<u64>>::show(value as u64)
    }
}

impl<const LEAST: u64> Form<Duration> for Span<LEAST> {
    const WORDS: &'static str =
        if LEAST == 0 { "a duration, such as 15.6ms, or 0" } else { "a duration above zero, such as 500ms, 2s or 5m" };

    fn parse(text: &str) -> Option<Duration> {
        parse_duration(text).filter(|duration| *duration >= Duration::from_nanos(LEAST))
    }

    fn show(value: Duration) -> String {
        format!("\"{}\"", format_duration(value))
    }
}

impl Form<usize> for Payload {
    const WORDS: &'static str = "0 (from the interfaces) or bytes from 1200 to 65507";

    fn parse(text: &str) -> Option<usize> {
        integer(text).filter(|n| *n == 0 || (1200..=65_507).contains(n))?.try_into().ok()
    }

    fn show(value: usize) -> String {
        value.to_string()
    }
}

impl Form<bool> for Switch {
    const WORDS: &'static str = "true or false";

    fn parse(text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn show(value: bool) -> String {
        value.to_string()
    }
}

impl Form<Congestion> for Algorithm {
    const WORDS: &'static str = "bbr2 or cubic";

    fn parse(text: &str) -> Option<Congestion> {
        match text {
            "bbr2" => Some(Congestion::Bbr2),
            "cubic" => Some(Congestion::Cubic),
            _ => None,
        }
    }

    fn show(value: Congestion) -> String {
        match value {
            Congestion::Bbr2 => "\"bbr2\"",
            Congestion::Cubic => "\"cubic\"",
        }
        .into()
    }
}

fn integer(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_setting_changes_its_field_and_shows_it() {
        let config = Config::new(PathBuf::new(), PathBuf::new());
        for setting in SETTINGS {
            let mut changed = config.clone();
            let (value, shown) = match setting.form {
                form if form.contains("duration") => ("1234ms", "\"1234ms\""),
                form if form.contains("size") => ("128KiB", "\"128KiB\""),
                "true or false" => ("false", "false"),
                "bbr2 or cubic" => ("cubic", "\"cubic\""),
                _ => ("1234", "1234"),
            };
            assert!((setting.set)(&mut changed, value).is_some(), "{} = {value}", setting.key);
            assert_ne!(format!("{changed:?}"), format!("{config:?}"), "{} does nothing", setting.key);
            assert_eq!((setting.show)(&changed), shown, "{}", setting.key);
            for bad in ["", "-1", "nonsense", "99999999999999999999"] {
                assert!((setting.set)(&mut changed, bad).is_none(), "{} = {bad}", setting.key);
            }
        }
    }
}
