//! The thread that owns mdns-sd.
//!
//! mdns-sd runs a thread of its own and hands out bounded channels that cannot be selected over together with ours;
//! a small forwarding thread for each of them pours them into one bounded channel, shedding (and counting) what does
//! not fit. This thread then blocks on that channel until its earliest deadline: nothing here polls.

#![allow(clippy::disallowed_methods, reason = "part of the shell: the clock is read here and handed inwards")]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, select};
use mdns_sd::{DaemonEvent, IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};

use crate::types::{LibraryStamp, PeerId};

use super::duty::{DutyCycle, Step};
use super::rank::{self, Found, LocalNet};
use super::{DiscoveryConfig, DiscoveryError, DiscoveryEvent, SERVICE_TYPE, Shared, Sighted, Sink, txt};

/// Events of mDNS under way between the threads.
const EVENTS: usize = 1024;
/// Advertisements remembered, for their withdrawal and to report each only once.
const MAX_SEEN: usize = 4096;
/// How often a browse that ended early (its channel overflowed) is begun again within one window.
const REBROWSE: u32 = 8;
/// How long mdns-sd may take to answer a question or to say goodbye.
const ANSWER: Duration = Duration::from_millis(500);

/// A message of a forwarding thread.
enum Msg {
    Browse { generation: u64, event: ServiceEvent },
    BrowseEnded { generation: u64 },
    Interfaces,
}

pub(super) struct Service {
    config: DiscoveryConfig,
    sink: Sink,
    shared: Arc<Shared>,
    woken: Receiver<()>,
    forward: Sender<Msg>,
    forwarded: Receiver<Msg>,
    adapter: Adapter,
    duty: DutyCycle,
    browse: Browse,
    /// What others see, and since when.
    published: Option<(LibraryStamp, Instant)>,
    /// Full instance name → the last report.
    seen: HashMap<String, Sighted>,
    local: LocalNet,
    next_check: Instant,
    /// Those of `shared.looks` that were answered.
    looks: u64,
    flood: Flood,
}

/// mdns-sd, or the pause after a flood.
enum Adapter {
    Up(ServiceDaemon),
    Down { until: Instant },
}

/// The running browse. The generation tells its events from those of its predecessors.
#[derive(Default)]
struct Browse {
    generation: u64,
    restarts: u32,
}

/// When to update the advertisement.
enum Due {
    No,
    Now,
    At(Instant),
}

struct Flood {
    pause: Duration,
    last: Option<Instant>,
}

impl Service {
    pub(super) fn open(
        config: DiscoveryConfig,
        sink: Sink,
        shared: Arc<Shared>,
        woken: Receiver<()>,
    ) -> Result<Self, DiscoveryError> {
        let now = Instant::now();
        let (forward, forwarded) = crossbeam_channel::bounded(EVENTS);
        let adapter = open_adapter(&config, &forward)
            .map_err(|e| DiscoveryError::Mdns { port: config.mdns_port, reason: e.to_string() })?;
        Ok(Self {
            duty: DutyCycle::new(&config.timers, now),
            next_check: now + config.timers.check_every,
            looks: 0,
            flood: Flood { pause: config.timers.flood_pause, last: None },
            adapter: Adapter::Up(adapter),
            browse: Browse::default(),
            published: None,
            seen: HashMap::new(),
            local: LocalNet::default(),
            config,
            sink,
            shared,
            woken,
            forward,
            forwarded,
        })
    }

    pub(super) fn run(mut self) {
        self.start_browse();
        loop {
            let now = Instant::now();
            self.fire_timers(now);
            if self.shared.order().shutdown {
                break;
            }
            let timeout = self.deadline().saturating_duration_since(now);
            select! {
                recv(self.forwarded) -> msg => if let Ok(msg) = msg { self.handle(msg) },
                // What was ordered is read from the slot on the next turn; a closed channel means shutdown is set.
                recv(self.woken) -> _ => {}
                default(timeout) => {}
            }
        }
        if let Adapter::Up(daemon) = self.adapter {
            close_adapter(&daemon);
        }
    }

    fn deadline(&self) -> Instant {
        match self.adapter {
            Adapter::Down { until } => until,
            Adapter::Up(_) => {
                let first = self.duty.deadline().min(self.next_check);
                match self.advert_due() {
                    Due::No => first,
                    Due::Now => Instant::now(),
                    Due::At(at) => at.min(first),
                }
            }
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        if let Adapter::Down { until } = self.adapter {
            if now < until {
                return;
            }
            self.reopen(now);
        }
        match self.advert_due() {
            Due::Now => self.publish(now),
            Due::At(at) if at <= now => self.publish(now),
            Due::At(_) | Due::No => {}
        }
        let looks = self.shared.looks.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.looks, looks) != looks && self.duty.restart(now) == Some(Step::Browse) {
            self.start_browse();
        }
        let peers = self.seen.len().max(self.shared.connected.load(Ordering::Relaxed));
        match self.duty.poll(now, random(), peers) {
            Some(Step::Browse) => self.start_browse(),
            Some(Step::Stop) => self.stop_browse(),
            None => {}
        }
        if now >= self.next_check {
            self.next_check = now + self.config.timers.check_every;
            self.check_records(now);
        }
    }

    // Advertising.

    /// When the newest stamp is to be published.
    fn advert_due(&self) -> Due {
        let Some(stamp) = self.shared.order().stamp else { return Due::No };
        match self.published {
            Some((published, _)) if published == stamp => Due::No,
            Some((_, at)) => Due::At(at + self.config.timers.advertise_every),
            None => Due::Now,
        }
    }

    fn publish(&mut self, now: Instant) {
        let (Adapter::Up(daemon), Some(stamp)) = (&self.adapter, self.shared.order().stamp) else { return };
        match service_info(&self.config, stamp).and_then(|info| daemon.register(info)) {
            Ok(()) => tracing::debug!(rev = %stamp.rev, "advertised"),
            Err(error) => tracing::warn!(%error, "the advertisement could not be updated"),
        }
        // Also after a failure: trying again at once would spin.
        self.published = Some((stamp, now));
    }

    // Browsing.

    fn start_browse(&mut self) {
        let Adapter::Up(daemon) = &self.adapter else { return };
        self.local = LocalNet::read();
        self.browse = Browse { generation: self.browse.generation + 1, restarts: 0 };
        self.seen.clear();
        // The old subscription, if any, is replaced; its cached records are reported again, which is what a new
        // window is for.
        begin_browse(daemon, self.browse.generation, &self.forward, &self.shared);
    }

    fn stop_browse(&mut self) {
        let Adapter::Up(daemon) = &self.adapter else { return };
        if let Err(error) = daemon.stop_browse(SERVICE_TYPE) {
            tracing::debug!(%error, "browsing could not be stopped");
        }
    }

    fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Browse { generation, event } if generation == self.browse.generation => self.service_event(event),
            Msg::BrowseEnded { generation } if generation == self.browse.generation && self.duty.is_browsing() => {
                let Adapter::Up(daemon) = &self.adapter else { return };
                if self.browse.restarts < REBROWSE {
                    self.browse.restarts += 1;
                    self.browse.generation += 1;
                    begin_browse(daemon, self.browse.generation, &self.forward, &self.shared);
                }
            }
            Msg::Browse { .. } | Msg::BrowseEnded { .. } => {}
            Msg::Interfaces => {
                tracing::info!("the network interfaces changed; looking for peers again");
                (self.sink)(DiscoveryEvent::Interfaces);
                if self.duty.restart(Instant::now()) == Some(Step::Browse) {
                    self.start_browse();
                }
            }
        }
    }

    fn service_event(&mut self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let Some(sighted) = self.sighted(&service) else { return };
                if self.seen.get(&service.fullname) == Some(&sighted) {
                    return;
                }
                if self.seen.len() >= MAX_SEEN && !self.seen.contains_key(&service.fullname) {
                    self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                self.seen.insert(service.fullname.clone(), sighted.clone());
                (self.sink)(DiscoveryEvent::Sighted(sighted));
            }
            ServiceEvent::ServiceRemoved(_, fullname) => {
                let Some(gone) = self.seen.remove(&fullname) else { return };
                if !self.is_seen(gone.peer_id) {
                    (self.sink)(DiscoveryEvent::Gone { peer_id: gone.peer_id });
                }
            }
            _ => {}
        }
    }

    /// Whether another instance name speaks for this peer: a forged second one must not take the first along.
    fn is_seen(&self, peer_id: PeerId) -> bool {
        self.seen.values().any(|sighted| sighted.peer_id == peer_id)
    }

    fn sighted(&self, service: &ResolvedService) -> Option<Sighted> {
        let txt = txt::parse(&service.txt_properties, self.config.proto_ver)?;
        if txt.peer_id == self.config.peer_id {
            return None;
        }
        let mut found = Vec::new();
        for addr in &service.addresses {
            match addr {
                ScopedIp::V4(v4) => {
                    let ip = IpAddr::V4(*v4.addr());
                    found.extend(v4.interface_ids().iter().map(|id| Found { ip, index: id.index }));
                }
                ScopedIp::V6(v6) => found.push(Found { ip: IpAddr::V6(*v6.addr()), index: v6.scope_id().index }),
                _ => {}
            }
        }
        // An address of a family without a socket here could not be dialled.
        let families = &self.config.listen;
        found.retain(|found| families.is_empty() || families.iter().any(|own| own.is_ipv4() == found.ip.is_ipv4()));
        let addrs = rank::rank(&found, service.port, &self.local);
        if addrs.is_empty() {
            return None;
        }
        let txt::Txt { peer_id, proto_ver, stamp, hostname } = txt;
        Some(Sighted { peer_id, addrs, proto_ver, stamp, hostname })
    }

    // Floods.

    fn check_records(&mut self, now: Instant) {
        let Adapter::Up(daemon) = &self.adapter else { return };
        let metrics = daemon.get_metrics().ok().and_then(|answer| answer.recv_timeout(ANSWER).ok());
        // No answer in time is how a flood looks, too.
        let records = metrics.map_or(usize::MAX, |metrics| {
            let cached = metrics.iter().filter(|(name, _)| name.starts_with("cached-"));
            cached.map(|(_, count)| usize::try_from(*count).unwrap_or(0)).sum()
        });
        if records <= self.config.max_records {
            return;
        }
        let timers = &self.config.timers;
        if self.flood.last.is_none_or(|last| now.saturating_duration_since(last) > 4 * timers.flood_pause_max) {
            self.flood.pause = timers.flood_pause;
        }
        tracing::warn!(records, pause = ?self.flood.pause, "a flood of mDNS records; mDNS is restarted after a pause");
        close_adapter(daemon);
        self.shared.restarts.fetch_add(1, Ordering::Relaxed);
        self.adapter = Adapter::Down { until: now + self.flood.pause };
        self.flood = Flood { pause: (2 * self.flood.pause).min(timers.flood_pause_max), last: Some(now) };
        self.published = None;
        self.seen.clear();
    }

    fn reopen(&mut self, now: Instant) {
        match open_adapter(&self.config, &self.forward) {
            Ok(daemon) => {
                self.adapter = Adapter::Up(daemon);
                self.next_check = now + self.config.timers.check_every;
                // Whatever it answers, nothing browses yet on the new adapter.
                let _ = self.duty.restart(now);
                self.start_browse();
            }
            Err(error) => {
                tracing::warn!(%error, "mDNS could not be restarted");
                self.adapter = Adapter::Down { until: now + self.flood.pause };
            }
        }
    }
}

fn open_adapter(config: &DiscoveryConfig, forward: &Sender<Msg>) -> mdns_sd::Result<ServiceDaemon> {
    let daemon = ServiceDaemon::new_with_port(config.mdns_port)?;
    let seconds = u32::try_from(config.timers.ip_check.as_secs()).unwrap_or(u32::MAX);
    daemon.set_ip_check_interval(seconds)?;
    if !config.listen.is_empty() && config.listen.iter().all(IpAddr::is_loopback) {
        // Nobody beyond this machine could reach it, so nobody beyond this machine hears of it.
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    }
    let monitor = daemon.monitor()?;
    let forward = forward.clone();
    spawn("mdns-monitor", move || {
        for event in monitor.iter() {
            match event {
                DaemonEvent::IpAdd(_) | DaemonEvent::IpDel(_) => {
                    if let Err(TrySendError::Disconnected(_)) = forward.try_send(Msg::Interfaces) {
                        break;
                    }
                }
                DaemonEvent::Error(error) => tracing::debug!(%error, "mDNS"),
                _ => {}
            }
        }
    });
    Ok(daemon)
}

/// Says goodbye and waits until that has left.
fn close_adapter(daemon: &ServiceDaemon) {
    // The command queue of a flooded adapter may be full for a moment.
    for _ in 0..3 {
        match daemon.shutdown() {
            Ok(done) => {
                let _ = done.recv_timeout(ANSWER);
                return;
            }
            Err(mdns_sd::Error::Again) => std::thread::yield_now(),
            Err(_) => return,
        }
    }
}

fn begin_browse(daemon: &ServiceDaemon, generation: u64, forward: &Sender<Msg>, shared: &Arc<Shared>) {
    let events = match daemon.browse(SERVICE_TYPE) {
        Ok(events) => events,
        Err(error) => return tracing::warn!(%error, "browsing could not begin"),
    };
    let (forward, shared) = (forward.clone(), Arc::clone(shared));
    spawn("mdns-browse", move || {
        for event in events.iter() {
            match event {
                ServiceEvent::ServiceResolved(_) | ServiceEvent::ServiceRemoved(..) => {
                    match forward.try_send(Msg::Browse { generation, event }) {
                        Ok(()) => {}
                        Err(TrySendError::Full(_)) => {
                            shared.dropped.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(TrySendError::Disconnected(_)) => return,
                    }
                }
                ServiceEvent::SearchStopped(_) => break,
                _ => {}
            }
        }
        let _ = forward.send(Msg::BrowseEnded { generation });
    });
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(body) {
        tracing::warn!(%error, name, "a thread of discovery could not start");
    }
}

fn service_info(config: &DiscoveryConfig, stamp: LibraryStamp) -> mdns_sd::Result<ServiceInfo> {
    let id = config.peer_id.to_string();
    let host = format!("{id}.local.");
    let txt = txt::write(config, stamp);
    // An unspecified address means all of its family, now and later; else exactly the given ones.
    let automatic = config.listen.is_empty() || config.listen.iter().any(IpAddr::is_unspecified);
    let addrs: Vec<IpAddr> = if automatic { Vec::new() } else { config.listen.clone() };
    let mut info = ServiceInfo::new(SERVICE_TYPE, &id, &host, addrs.as_slice(), config.port, txt.as_slice())?;
    if automatic && !config.listen.is_empty() {
        let kind = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) if v4.is_unspecified() => IfKind::IPv4,
            IpAddr::V6(v6) if v6.is_unspecified() => IfKind::IPv6,
            ip => IfKind::Addr(*ip),
        };
        info.set_interfaces(config.listen.iter().map(kind).collect());
    }
    if automatic {
        info = info.enable_addr_auto();
    }
    // RFC 6762, section 8.1: names made of a key are unique; probing would only let a forger push us aside.
    info.set_requires_probe(false);
    Ok(info)
}

/// Uniform in 0..1; only spreads daemons in time.
fn random() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}
