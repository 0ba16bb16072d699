//! What a test needs of the machine. Missing: the test says so and passes, unless `LANSPREAD_REQUIRE` names it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::systemd::UserSystemd;
use super::tracer::Tracer;

/// Mounts the image `$0` on `$1`. The loop device goes with the last who uses it.
pub(crate) const MOUNT_EXFAT: &str =
    r#"L=$(losetup -f --show "$0") && { mount.exfat-fuse "$L" "$1" >&2; R=$?; losetup -d "$L"; [ $R = 0 ]; }"#;
/// The same for FAT.
pub(crate) const MOUNT_VFAT: &str = r#"mount -t vfat -o loop "$0" "$1""#;

/// Whether the machine has all of `what` (`netns`, `nft`, `mount`, `exfat`, `vfat`, `strace`, `avahi`, `browser`, `axe`, `systemd`, `script`; `strace-attach`: strace, and it may attach to a
/// process that it did not start). Prints the reason of a skip past the test runner's capture; fails where the environment
/// says that it must not be skipped, where `strace` stands for both.
pub(crate) fn available(test: &str, what: &[&str]) -> bool {
    for &name in what {
        let Some(reason) = fault(name) else { continue };
        let required = std::env::var("LANSPREAD_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|entry| entry.trim() == name.split('-').next().unwrap_or(name)),
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
        "exfat" => file_system_fault("mkfs.exfat", MOUNT_EXFAT),
        "vfat" => file_system_fault("mkfs.vfat", MOUNT_VFAT),
        "nft" => {
            static FAULT: OnceLock<Option<String>> = OnceLock::new();
            FAULT.get_or_init(nft_fault).clone()
        }
        "browser" => {
            static FAULT: OnceLock<Option<String>> = OnceLock::new();
            let fault = || runs("chromedriver", &["--version"]).or_else(|| runs("chromium", &["--version"]));
            FAULT.get_or_init(fault).clone()
        }
        "axe" => match std::env::var("LANSPREAD_AXE").map(|file| std::fs::metadata(file).is_ok()) {
            Ok(true) => None,
            _ => Some("LANSPREAD_AXE names no file axe.min.js".into()),
        },
        "curl" | "jq" | "python3" | "script" => runs(name, &["--version"]),
        "systemd" => {
            static FAULT: OnceLock<Option<String>> = OnceLock::new();
            FAULT.get_or_init(systemd_fault).clone()
        }
        "strace" => runs("strace", &["-V"]),
        "strace-attach" => {
            static FAULT: OnceLock<Option<String>> = OnceLock::new();
            FAULT.get_or_init(|| runs("strace", &["-V"]).or_else(attach_fault)).clone()
        }
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

/// nft may be there and the kernel lack what it asks for.
fn nft_fault() -> Option<String> {
    if let Some(fault) = runs("nft", &["--version"]) {
        return Some(fault);
    }
    let name = format!("lsnft{}", std::process::id());
    let ip = |args: &[&str]| Command::new("ip").args(args).stdin(Stdio::null()).output();
    let added = ip(&["netns", "add", &name]);
    if !added.is_ok_and(|output| output.status.success()) {
        return Some("no network namespace can be made".into());
    }
    let tried = ip(&["netns", "exec", &name, "nft", &super::lan::loss_rule(5)]);
    let _ = ip(&["netns", "del", &name]);
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("ip cannot be run: {error}")),
    }
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

/// Whether a file system can be made and mounted where nobody else sees it.
fn file_system_fault(make: &str, mount: &str) -> Option<String> {
    let dir = tempfile::tempdir().ok()?;
    let (image, at) = (dir.path().join("image"), dir.path().join("at"));
    std::fs::create_dir(&at).ok()?;
    std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).ok()?;
    let script = format!(r#"{make} "$0" && {mount}"#);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).arg(&image).arg(&at).stdin(Stdio::null());
    match command.output() {
        Err(error) => Some(format!("unshare cannot be run: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("{make}, or its mount: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The child is strace's sibling, as a daemon is.
fn attach_fault() -> Option<String> {
    let mut child = match Command::new("sleep").arg("600").stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => return Some(format!("sleep cannot be run: {error}")),
    };
    let fault = Tracer::attach(child.id(), &["-e", "trace=none"], std::path::Path::new("/dev/null")).err();
    let _ = child.kill();
    let _ = child.wait();
    fault
}

/// A user's systemd may start and have no right to start anything.
fn systemd_fault() -> Option<String> {
    let dir = tempfile::tempdir().ok()?;
    let systemd = match UserSystemd::start(&dir.path().join("home")) {
        Ok(systemd) => systemd,
        Err(reason) => return Some(reason),
    };
    match systemd.command("systemd-run").args(["--user", "--wait", "--quiet", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("systemd-run: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("systemd-run cannot be run: {error}")),
    }
}

fn runs(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => None,
        Err(error) => Some(format!("{program} cannot be run: {error}")),
    }
}
