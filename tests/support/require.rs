//! What a test needs of the machine. Missing: the test says so and passes, unless `LANSPREAD_REQUIRE` names it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Whether the machine has all of `what` (`netns`, `mount`, `strace`, `avahi`). Prints the reason of a skip past the test
/// runner's capture; fails where the environment says that it must not be skipped.
pub(crate) fn available(test: &str, what: &[&str]) -> bool {
    for &name in what {
        let Some(reason) = fault(name) else { continue };
        let required = std::env::var("LANSPREAD_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|entry| entry.trim() == name),
            "{test} needs {name}, which LANSPREAD_REQUIRE demands, but {reason}"
        );
        // Straight to the descriptor: a skip must be seen although the test passes.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: needs {name}, but {reason}");
        return false;
    }
    true
}

fn fault(name: &str) -> Option<String> {
    match name {
        "netns" => {
            static FAULT: OnceLock<Option<String>> = OnceLock::new();
            FAULT.get_or_init(netns_fault).clone()
        }
        "mount" => mount_fault(),
        "strace" => runs("strace", &["-V"]),
        "avahi" => runs("avahi-daemon", &["--version"])
            .or_else(|| runs("avahi-browse", &["--version"]))
            .or_else(|| runs("dbus-daemon", &["--version"])),
        other => Some(format!("nobody knows what {other} is")),
    }
}

fn netns_fault() -> Option<String> {
    let name = format!("lsprobe{}", std::process::id());
    let ip = |args: &[&str]| {
        let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
        match output {
            Err(error) => Some(format!("ip cannot be run: {error}")),
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
        }
    };
    let fault = ip(&["netns", "add", &name]);
    if fault.is_none() {
        let fault = ip(&["-n", &name, "link", "add", "br0", "type", "bridge"]);
        ip(&["netns", "del", &name]);
        return fault;
    }
    fault
}

/// A file system of one's own that nobody else sees, and that is gone with its process.
fn mount_fault() -> Option<String> {
    let dir = tempfile::tempdir().ok()?;
    let mut command = Command::new("unshare");
    command.args(["-m", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).stdin(Stdio::null());
    match command.output() {
        Err(error) => Some(format!("unshare cannot be run: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("unshare -m mount: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn runs(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => None,
        Err(error) => Some(format!("{program} cannot be run: {error}")),
    }
}
