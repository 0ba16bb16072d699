//! The settings of the tables `[limits]`, `[timers]` and `[transport]`, by name.

use std::time::Duration;

use super::units::{parse_duration, parse_size};
use super::{Config, Congestion};

/// One setting: its key, the form it accepts in words, and how to set it. `None`: the text is not of that form.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) form: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
}

const COUNT: &str = "a whole number from 1 to 1000000";
const COUNT_OR_ZERO: &str = "a whole number from 0 to 1000000";
const SIZE: &str = "a size from 64KiB to 64GiB, such as 4MiB";
const SWITCH: &str = "true or false";
const DURATION: &str = "a duration above zero, such as 500ms, 2s or 5m";
const DURATION_OR_ZERO: &str = "a duration, such as 15.6ms, or 0";

macro_rules! table {
    ($($kind:ident $table:ident . $field:ident;)*) => {
        &[$(table!(@ $kind $table $field)),*]
    };
    (@ count $table:ident $field:ident) => { table!(@@ $table $field COUNT, |text| count(text, 1)) };
    (@ count_or_zero $table:ident $field:ident) => { table!(@@ $table $field COUNT_OR_ZERO, |text| count(text, 0)) };
    (@ size $table:ident $field:ident) => { table!(@@ $table $field SIZE, size) };
    (@ duration $table:ident $field:ident) => { table!(@@ $table $field DURATION, duration) };
    (@ duration_or_zero $table:ident $field:ident) => { table!(@@ $table $field DURATION_OR_ZERO, parse_duration) };
    (@ payload $table:ident $field:ident) => {
        table!(@@ $table $field "0 (from the interfaces) or bytes from 1200 to 65507", payload)
    };
    (@ switch $table:ident $field:ident) => { table!(@@ $table $field SWITCH, switch) };
    (@ congestion $table:ident $field:ident) => { table!(@@ $table $field "bbr2 or cubic", congestion) };
    (@@ $table:ident $field:ident $form:expr, $parse:expr) => {
        Setting {
            key: concat!(stringify!($table), ".", stringify!($field)),
            form: $form,
            set: |config, text| {
                let parse = $parse;
                config.$table.$field = parse(text)?.try_into().ok()?;
                Some(())
            },
        }
    };
}

/// Every setting there is; a test compares it with the structures.
#[allow(clippy::infallible_try_from, clippy::useless_conversion, reason = "one macro for several integer types")]
pub(super) const SETTINGS: &[Setting] = table! {
    count limits.connections;
    count limits.half_open_before_retry;
    count limits.peers;
    count limits.dials;
    count limits.games_per_library;
    size limits.library_bytes;
    count limits.landing_buffers;
    count limits.read_buffers;
    count limits.read_ahead;
    size limits.run_bytes;
    count limits.inbound_runs_per_peer;
    count limits.upload_runs;
    count limits.downloads;
    count_or_zero limits.workers;
    size limits.frame_bytes;
    count_or_zero limits.max_watches;
    count limits.delta_history;
    duration timers.ping_after;
    duration timers.ping_retry;
    duration timers.stale_after;
    duration timers.request_timeout;
    duration timers.dial_timeout;
    duration timers.redial_min;
    duration timers.redial_max;
    duration timers.delta_coalesce;
    duration timers.sighting_grace;
    duration timers.rescan_every;
    duration timers.catalog_refresh;
    duration timers.mirror_refresh;
    duration timers.fs_coalesce;
    duration timers.arriving_quiet;
    duration timers.progress_every;
    duration timers.run_stall;
    duration timers.manifest_hedge;
    duration timers.source_wait;
    duration timers.sleep_least;
    duration timers.interface_check;
    duration timers.shutdown_grace;
    congestion transport.congestion;
    size transport.socket_buffer;
    size transport.max_window;
    payload transport.max_payload;
    switch transport.send_offload;
    duration_or_zero transport.timer_resolution;
};

fn count(text: &str, least: u64) -> Option<u64> {
    integer(text).filter(|n| (least..=1_000_000).contains(n))
}

fn size(text: &str) -> Option<u64> {
    parse_size(text).filter(|n| (64 << 10..=64 << 30).contains(n))
}

fn duration(text: &str) -> Option<Duration> {
    parse_duration(text).filter(|duration| !duration.is_zero())
}

fn payload(text: &str) -> Option<u64> {
    integer(text).filter(|n| *n == 0 || (1200..=65_507).contains(n))
}

fn switch(text: &str) -> Option<bool> {
    text.parse().ok()
}

fn congestion(text: &str) -> Option<Congestion> {
    match text {
        "bbr2" => Some(Congestion::Bbr2),
        "cubic" => Some(Congestion::Cubic),
        _ => None,
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
    fn every_field_has_a_setting_and_every_setting_changes_its_field() {
        let config = Config::new(PathBuf::new(), PathBuf::new());
        // The derived Debug output is the one place that lists the fields of a structure by name.
        for (table, debug) in [
            ("limits", format!("{:#?}", config.limits)),
            ("timers", format!("{:#?}", config.timers)),
            ("transport", format!("{:#?}", config.transport)),
        ] {
            for field in debug.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(':')) {
                let key = format!("{table}.{}", field.0);
                assert!(SETTINGS.iter().any(|s| s.key == key), "{key} cannot be set");
            }
        }
        for setting in SETTINGS {
            let mut changed = config.clone();
            let value = match setting.form {
                DURATION | DURATION_OR_ZERO => "1234ms",
                SIZE => "123KiB",
                COUNT | COUNT_OR_ZERO => "123",
                SWITCH => "false",
                "bbr2 or cubic" => "cubic",
                _ => "1234",
            };
            assert!((setting.set)(&mut changed, value).is_some(), "{} = {value}", setting.key);
            assert_ne!(format!("{changed:?}"), format!("{config:?}"), "{} does nothing", setting.key);
            for bad in ["", "-1", "nonsense", "99999999999999999999"] {
                assert!((setting.set)(&mut changed, bad).is_none(), "{} = {bad}", setting.key);
            }
        }
    }
}
