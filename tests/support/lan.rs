//! A small virtual LAN: network namespaces joined by a bridge. The bridge has a namespace of its own, so that nothing of
//! it is seen on the machine's network and all LANs can use the same addresses.

use std::ffi::CString;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

/// Namespaces of a LAN are named `lst<process>x<LAN>-<host>`.
const PREFIX: &str = "lst";

/// Hosts on one segment with multicast. Taken down when dropped.
pub(crate) struct Lan {
    name: String,
    hosts: Mutex<Vec<String>>,
}

/// One host of a [`Lan`].
#[derive(Clone, Debug)]
pub(crate) struct Host {
    netns: String,
    addr: Ipv4Addr,
}

impl Lan {
    /// An empty segment.
    pub(crate) fn new() -> Self {
        static SWEEP: Once = Once::new();
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(sweep);
        let name = format!("{PREFIX}{}x{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let lan = Self { name, hosts: Mutex::new(Vec::new()) };
        let switch = lan.switch();
        ip(&format!("netns add {switch}"));
        quiet_ipv6(&switch);
        ip(&format!("-n {switch} link add br0 type bridge mcast_snooping 0"));
        ip(&format!("-n {switch} link set br0 up"));
        lan
    }

    /// The namespace of the bridge; the port of the n-th host is `pN`.
    pub(crate) fn switch(&self) -> String {
        format!("{}-sw", self.name)
    }

    /// A new host with the next address of 10.77.0.0/24.
    pub(crate) fn host(&self, name: &str) -> Host {
        let mut hosts = self.hosts.lock().unwrap();
        let number = hosts.len() as u8 + 1;
        let host = Host { netns: format!("{}-{name}", self.name), addr: Ipv4Addr::new(10, 77, 0, number) };
        let (netns, switch) = (&host.netns, self.switch());
        ip(&format!("netns add {netns}"));
        hosts.push(host.netns.clone());
        quiet_ipv6(netns);
        ip(&format!("-n {netns} link set lo up"));
        ip(&format!("link add eth0 netns {netns} type veth peer name p{number} netns {switch}"));
        ip(&format!("-n {switch} link set p{number} master br0 up"));
        ip(&format!("-n {netns} link set eth0 up"));
        ip(&format!("-n {netns} addr add {}/24 dev eth0", host.addr));
        host
    }

    /// A host without any cable: only its loopback.
    pub(crate) fn lonely_host(&self, name: &str) -> Host {
        let host = Host { netns: format!("{}-{name}", self.name), addr: Ipv4Addr::LOCALHOST };
        ip(&format!("netns add {}", host.netns));
        self.hosts.lock().unwrap().push(host.netns.clone());
        ip(&format!("-n {} link set lo up", host.netns));
        host
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for netns in self.hosts.lock().unwrap_or_else(|error| error.into_inner()).iter().chain([&self.switch()]) {
            let _ = Command::new("ip").args(["netns", "del", netns]).stderr(Stdio::null()).status();
        }
    }
}

impl Host {
    /// The name of its namespace.
    pub(crate) fn netns(&self) -> &str {
        &self.netns
    }

    /// Its address.
    pub(crate) fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// The same host under another address.
    pub(crate) fn move_to(&self, last: u8) -> Host {
        let addr = Ipv4Addr::new(10, 77, 0, last);
        ip(&format!("-n {} addr flush dev eth0 scope global", self.netns));
        ip(&format!("-n {} addr add {addr}/24 dev eth0", self.netns));
        Host { netns: self.netns.clone(), addr }
    }

    /// What it sends leaves as from a network card: every packet alone, at its own time. A burst of two packets makes the kernel
    /// cut trains, which would travel whole otherwise.
    pub(crate) fn wire_mbit(&self, mbit: u32) {
        ip(&format!("-n {} link set dev eth0 gso_max_segs 1", self.netns));
        run("tc", &format!("-n {} qdisc replace dev eth0 root tbf rate {mbit}mbit burst 3200b limit 1mb", self.netns));
    }

    /// Limits what it sends.
    pub(crate) fn shape_mbit(&self, mbit: u32) {
        run(
            "tc",
            &format!("-n {} qdisc replace dev eth0 root tbf rate {mbit}mbit burst 128kb latency 100ms", self.netns),
        );
    }

    /// From now on it loses so many of a hundred UDP packets that come to it: 0 none, 100 all.
    pub(crate) fn lose_percent(&self, percent: u32) {
        let output = self.command("nft").arg(loss_rule(percent)).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }

    /// UDP packets that it lost since [`Host::lose_percent`] was called last.
    pub(crate) fn lost_packets(&self) -> u64 {
        let output = self.command("nft").args(["list", "table", "inet", "loss"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = text.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
        count.unwrap_or_else(|| panic!("no counter in {text}")).parse().unwrap()
    }

    /// A program that runs there.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns, program]);
        command
    }

    /// Runs `body` on a thread whose sockets, and those of the threads that it starts, are on this host.
    pub(crate) fn enter<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        let path = CString::new(format!("/run/netns/{}", self.netns)).unwrap();
        std::thread::spawn(move || {
            // SAFETY: plain system calls on a valid path and the descriptor just opened; setns changes this thread only.
            unsafe {
                let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                assert!(fd >= 0, "the namespace can be opened");
                assert_eq!(libc::setns(fd, libc::CLONE_NEWNET), 0, "{}", std::io::Error::last_os_error());
                libc::close(fd);
            }
            body()
        })
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Replaces the table that loses packets, in one step.
pub(crate) fn loss_rule(percent: u32) -> String {
    let which = if percent < 100 { format!("numgen random mod 100 < {percent}") } else { String::new() };
    format!(
        "table inet loss {{}}; delete table inet loss; table inet loss {{ chain in {{ \
         type filter hook input priority 0; meta l4proto udp {which} counter drop; }}; }};"
    )
}

/// Addresses are usable at once instead of after two seconds of duplicate detection.
fn quiet_ipv6(netns: &str) {
    let script = "for f in default all; do echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; \
                  echo 0 >/proc/sys/net/ipv6/conf/$f/dad_transmits; done 2>/dev/null; true";
    let status = Command::new("ip").args(["netns", "exec", netns, "sh", "-c", script]).status().unwrap();
    assert!(status.success());
}

fn ip(args: &str) {
    run("ip", args);
}

fn run(program: &str, args: &str) {
    let output = Command::new(program).args(args.split_whitespace()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {args}: {}", String::from_utf8_lossy(&output.stderr).trim());
}

/// Takes down what test processes left that were killed.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('x').next()) else { continue };
        if pid.parse::<u32>().is_ok_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}
