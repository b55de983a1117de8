//! Leases: how a container that died without a word gets out of DNS.
//!
//! Beside its records each container keeps a TXT record whose text it changes at every sign of life.
//! Whoever sees a text unchanged for as long as it promises may take it and the records that it
//! lists out. No clock is ever compared with another's: an observer measures by its own how long
//! the server has shown the same text, and counts no time during which it could not ask.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::wire::name::DnsName;
use super::wire::update::{Data, Rr};

/// First word of every text of ours.
const MAGIC: &str = "berth1";
/// A lease is never believed to be shorter or longer than this.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(86_400);
/// This many addresses are watched at once.
const PATROL: usize = 64;

/// What tells the containers at one address apart: the port, of which only one can be the owner, or
/// a number drawn at start when the port is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    Port(u16),
    Drawn(u64),
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port={port}"),
            Self::Drawn(number) => write!(f, "id={number:016x}"),
        }
    }
}

impl Mark {
    fn parse(word: &str) -> Option<Self> {
        match word.split_once('=')? {
            ("port", port) => Some(Self::Port(port.parse().ok()?)),
            ("id", number) => Some(Self::Drawn(u64::from_str_radix(number, 16).ok()?)),
            _ => None,
        }
    }
}

/// The text of one lease: whose it is, how long it holds, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) mark: Mark,
    /// How long it holds after its last change.
    pub(super) holds: Duration,
    /// Drawn anew for every change, so that no two texts are ever alike, whoever wrote them.
    pub(super) nonce: u64,
    /// The node's name, when the container holds one.
    pub(super) node: Option<DnsName>,
    /// Owner and port of its SRV record.
    pub(super) srv: Option<(DnsName, u16)>,
    /// Target of its PTR record.
    pub(super) ptr: Option<DnsName>,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, holds, nonce) = (self.mark, self.holds.as_secs(), self.nonce);
        write!(f, "{MAGIC} {mark} lease={holds} nonce={nonce:016x}")?;
        if let Some(node) = &self.node {
            write!(f, " node={node}")?;
        }
        if let Some((owner, port)) = &self.srv {
            write!(f, " srv={owner}:{port}")?;
        }
        if let Some(target) = &self.ptr {
            write!(f, " ptr={target}")?;
        }
        Ok(())
    }
}

impl Lease {
    pub(super) fn text(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// Reads a text; `None` when it is not one of ours, and then it stays for ever.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        if words.next()? != MAGIC {
            return None;
        }
        let mark = Mark::parse(words.next()?)?;
        let holds = Duration::from_secs(words.next()?.strip_prefix("lease=")?.parse().ok()?);
        let nonce = u64::from_str_radix(words.next()?.strip_prefix("nonce=")?, 16).ok()?;
        let holds = holds.clamp(SHORTEST, LONGEST);
        let mut lease = Self { mark, holds, nonce, node: None, srv: None, ptr: None };
        for word in words {
            let name = |text: &str| DnsName::vec_from_str(text).ok();
            match word.split_once('=')? {
                ("node", node) => lease.node = Some(name(node)?),
                ("ptr", target) => lease.ptr = Some(name(target)?),
                ("srv", srv) => {
                    let (owner, port) = srv.rsplit_once(':')?;
                    lease.srv = Some((name(owner)?, port.parse().ok()?));
                }
                // Of a later version: it lists what we do not know how to take out.
                _ => return None,
            }
        }
        Some(lease)
    }

    /// The records in the forward zone that go with the lease of a container at `addr`.
    pub(super) fn records(&self, shared: &DnsName, addr: IpAddr) -> Vec<Rr> {
        let mut records = vec![Rr::new(shared, Data::Addr(addr))];
        if let Some(node) = &self.node {
            records.push(Rr::new(node, Data::Addr(addr)));
            records.push(Rr::new(node, Data::Txt(holder_text(addr, self.mark))));
            if let Some((owner, port)) = &self.srv {
                records.push(Rr::new(owner, Data::Srv { port: *port, target: node.clone() }));
            }
        }
        records
    }
}

/// The targets of the PTR records that go with some leases.
pub(super) fn ptrs<'a>(texts: impl Iterator<Item = &'a Vec<u8>>) -> impl Iterator<Item = DnsName> {
    texts.filter_map(|text| Lease::parse(text)?.ptr)
}

/// What stands beside the address at a node's name: who holds it.
pub(super) fn holder_text(addr: IpAddr, mark: Mark) -> Vec<u8> {
    format!("{MAGIC} holder={addr} {mark}").into_bytes()
}

/// Whether a text is Berth's, of whatever version.
pub(super) fn is_ours(text: &[u8]) -> bool {
    text.strip_prefix(MAGIC.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
}

/// The address in such a text.
pub(super) fn holder(text: &[u8]) -> Option<IpAddr> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    (words.next()? == MAGIC).then_some(())?;
    words.next()?.strip_prefix("holder=")?.parse().ok()
}

/// The leases that have been seen, and since when each has not changed.
#[derive(Debug, Default)]
pub(super) struct Patrol {
    watched: Vec<Watch>,
}

#[derive(Debug)]
struct Watch {
    addr: IpAddr,
    seen_at: Instant,
    since: Vec<(Vec<u8>, Instant)>,
    /// Whether a text has gone since the watch began: its owner lives.
    changed: bool,
}

impl Patrol {
    /// Which of the addresses in DNS to look at now. All of them, as long as they are not many;
    /// otherwise those under suspicion, and others by `luck` (a number from 0 to 1), so that the
    /// load on the server grows with the number of containers and not with its square.
    pub(super) fn choose(&mut self, present: &[IpAddr], luck: f64) -> Vec<IpAddr> {
        let crowded = present.len() > PATROL;
        self.watched.retain(|watch| present.contains(&watch.addr) && !(crowded && watch.changed));
        let mut chosen: Vec<_> = self.watched.iter().map(|watch| watch.addr).collect();
        let start = (present.len() as f64 * luck) as usize;
        for addr in present.iter().cycle().skip(start).take(present.len()) {
            if chosen.len() < PATROL && !chosen.contains(addr) {
                chosen.push(*addr);
            }
        }
        chosen
    }

    /// Takes note of the texts that an address has at `now`, and returns those that have expired.
    /// What was not asked for longer than `gap` starts anew: in that time the owner may have been
    /// as unable to renew as we to see.
    pub(super) fn observe(
        &mut self,
        addr: IpAddr,
        texts: &[Vec<u8>],
        now: Instant,
        gap: Duration,
    ) -> Vec<Vec<u8>> {
        let index = self.watched.iter().position(|watch| watch.addr == addr).unwrap_or_else(|| {
            self.watched.push(Watch { addr, seen_at: now, since: Vec::new(), changed: false });
            self.watched.len() - 1
        });
        let watch = &mut self.watched[index];
        if now.duration_since(watch.seen_at) > gap {
            watch.since.clear();
        }
        watch.seen_at = now;
        let before = watch.since.len();
        watch.since.retain(|(text, _)| texts.contains(text));
        watch.changed |= watch.since.len() < before;
        for text in texts {
            if watch.since.iter().all(|(seen, _)| seen != text) {
                watch.since.push((text.clone(), now));
            }
        }
        let expired = |(text, since): &(Vec<u8>, Instant)| {
            let lease = Lease::parse(text)?;
            (now.duration_since(*since) >= lease.holds).then(|| text.clone())
        };
        watch.since.iter().filter_map(expired).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOLDS: Duration = Duration::from_secs(120);
    const GAP: Duration = Duration::from_secs(30);

    fn name(text: &str) -> DnsName {
        DnsName::vec_from_str(text).unwrap()
    }

    fn lease(nonce: u64) -> Lease {
        Lease { mark: Mark::Port(80), holds: HOLDS, nonce, node: None, srv: None, ptr: None }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_text_says_what_goes_with_the_lease() {
        let full = Lease {
            node: Some(name("node3.example.com")),
            srv: Some((name("_http._tcp.webapp.example.com"), 8080)),
            ptr: Some(name("node3.example.com")),
            ..lease(7)
        };
        assert_eq!(
            full.to_string(),
            "berth1 port=80 lease=120 nonce=0000000000000007 node=node3.example.com \
             srv=_http._tcp.webapp.example.com:8080 ptr=node3.example.com"
        );
        assert_eq!(Lease::parse(&full.text()), Some(full.clone()));
        let shared = name("webapp.example.com");
        let records = full.records(&shared, [10, 0, 0, 5].into());
        let records: Vec<_> = records.iter().map(ToString::to_string).collect();
        assert_eq!(
            records,
            [
                "webapp.example.com A 10.0.0.5",
                "node3.example.com A 10.0.0.5",
                "node3.example.com TXT \"berth1 holder=10.0.0.5 port=80\"",
                "_http._tcp.webapp.example.com SRV 0 0 8080 node3.example.com",
            ]
        );
    }

    #[test]
    fn a_container_without_a_port_has_a_number_and_is_found_by_its_holder_text() {
        let drawn = Lease { mark: Mark::Drawn(0xbe47), ..lease(7) };
        assert_eq!(
            drawn.to_string(),
            "berth1 id=000000000000be47 lease=120 nonce=0000000000000007"
        );
        assert_eq!(Lease::parse(&drawn.text()), Some(drawn.clone()));
        let addr = IpAddr::from([10, 0, 0, 5]);
        let text = holder_text(addr, drawn.mark);
        assert_eq!(holder(&text), Some(addr));
        for strange in ["berth2 holder=10.0.0.5 port=80", "berth1 port=80", "holder=10.0.0.5", ""] {
            assert_eq!(holder(strange.as_bytes()), None, "{strange}");
        }
        for (text, ours) in
            [("berth1 x", true), ("berth1", false), ("berth10 x", false), ("", false)]
        {
            assert_eq!(is_ours(text.as_bytes()), ours, "{text}");
        }
    }

    #[test]
    fn the_targets_of_leases_are_told_and_nothing_of_other_texts() {
        let ptr = |target: &str| Lease { ptr: Some(name(target)), ..lease(1) }.text();
        let texts =
            [ptr("a.example.com"), lease(2).text(), b"v=spf1 -all".to_vec(), ptr("b.example.com")];
        let targets: Vec<_> = ptrs(texts.iter()).collect();
        assert_eq!(targets, [name("a.example.com"), name("b.example.com")]);
    }

    #[test]
    fn foreign_texts_and_those_of_later_versions_are_not_leases() {
        for text in [
            "",
            "v=spf1 -all",
            "berth1",
            "berth1 port=80 lease=120",
            "berth1 port=x lease=120 nonce=1",
            "berth2 port=80 lease=120 nonce=1",
            "berth1 port=80 lease=120 nonce=1 color=red",
            "berth1 port=80 lease=120 nonce=1 node=a..b",
            "berth1  port=80 lease=120 nonce=1",
        ] {
            assert_eq!(Lease::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_lease_expires_when_its_text_has_not_changed_for_as_long_as_it_holds() {
        let (mut patrol, start, addr) = (Patrol::default(), Instant::now(), [10, 0, 0, 5].into());
        let texts = |nonce| vec![lease(nonce).text()];
        let mut at =
            |seconds, texts: &[Vec<u8>]| patrol.observe(addr, texts, start + secs(seconds), GAP);
        for seconds in (0..120).step_by(20) {
            assert!(at(seconds, &texts(1)).is_empty(), "{seconds}");
        }
        assert_eq!(at(120, &texts(1)), texts(1));
        assert!(at(121, &texts(2)).is_empty());
        assert!(at(150, &[texts(2), texts(3)].concat()).is_empty());
        for seconds in (180..240).step_by(20) {
            assert!(at(seconds, &[texts(2), texts(3)].concat()).is_empty(), "{seconds}");
        }
        assert_eq!(at(241, &[texts(2), texts(3)].concat()), texts(2));
        assert!(at(260, &[b"v=spf1 -all".to_vec()]).is_empty());
    }

    #[test]
    fn time_without_an_answer_does_not_count() {
        let (mut patrol, start, addr) = (Patrol::default(), Instant::now(), [10, 0, 0, 5].into());
        let texts = [lease(1).text()];
        let mut at = |seconds| patrol.observe(addr, &texts, start + secs(seconds), GAP);
        assert!(at(0).is_empty());
        assert!(at(1000).is_empty(), "the server was away");
        for seconds in (1020..1120).step_by(20) {
            assert!(at(seconds).is_empty(), "{seconds}");
        }
        assert_eq!(at(1120), texts);
    }

    #[test]
    fn few_are_all_watched_and_many_in_turns() {
        let addrs: Vec<IpAddr> =
            (0..500_u32).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).into()).collect();
        let mut patrol = Patrol::default();
        assert_eq!(patrol.choose(&addrs[..10], 0.7).len(), 10);
        let now = Instant::now();
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..200 {
            let luck = f64::from(round * 37 % 100) / 100.0;
            let chosen = patrol.choose(&addrs, luck);
            assert_eq!(chosen.len(), PATROL);
            for addr in chosen {
                // The first never changes; the others renew every time they are looked at.
                let nonce = if addr == addrs[0] { 0 } else { round };
                patrol.observe(addr, &[lease(nonce as u64).text()], now, GAP);
                seen.insert(addr);
            }
        }
        assert_eq!(seen.len(), addrs.len());
        assert!(
            patrol.watched.iter().any(|watch| watch.addr == addrs[0]),
            "a suspect is kept in sight"
        );
        assert!(patrol.watched.len() <= PATROL);
    }

    /// `luck` says where in the list the look begins, whole or not.
    #[test]
    fn as_many_as_can_be_watched_are_no_crowd_and_luck_chooses_among_more() {
        let addrs: Vec<IpAddr> =
            (0..200_u32).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).into()).collect();
        let (few, now) = (&addrs[..PATROL], Instant::now());
        let mut patrol = Patrol::default();
        for round in 0..2 {
            for addr in patrol.choose(few, 0.5) {
                patrol.observe(addr, &[lease(round).text()], now, GAP);
            }
        }
        assert!(patrol.watched.iter().all(|watch| watch.changed));
        patrol.choose(few, 0.5);
        assert_eq!(patrol.watched.len(), PATROL, "who lives is watched on while there is room");
        let mut chosen = patrol.choose(&addrs, 0.5);
        assert_eq!(chosen, addrs[100..100 + PATROL], "who lives makes room");
        chosen = Patrol::default().choose(&addrs, 0.9);
        assert_eq!(
            chosen[..20],
            addrs[180..],
            "and the end of the list is followed by its beginning"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_lease_or_not(text in proptest::collection::vec(any::<u8>(), 0..300),
                                      words in "( ?(port|lease|nonce|node|srv|ptr|id)=[a-z0-9.:]{0,8}){0,6}") {
            let _ = Lease::parse(&text);
            if let Some(lease) = Lease::parse(format!("berth1{words}").as_bytes()) {
                prop_assert_eq!(Lease::parse(&lease.text()), Some(lease));
            }
            let _ = holder(&text);
        }
    }
}
