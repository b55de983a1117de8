use super::*;
use crate::config::Config;
use crate::registers::dns::lease::{Lease, Mark};
use crate::registers::dns::wire::update::Prerequisite;

const HERE: [u8; 4] = [10, 0, 0, 5];
const ELSEWHERE: [u8; 4] = [10, 0, 0, 9];

fn dns_name(text: &str) -> DnsName {
    DnsName::vec_from_str(text).unwrap()
}

/// One container and a server that does what it is told, unless `answer` says otherwise.
struct Container {
    phase: Phase,
    rules: DnsConfig,
    now: Instant,
    nonce: u64,
    view: View,
}

impl Container {
    fn new(more: &[(&str, &str)]) -> Self {
        let vars = [
            ("DNS_SERVER", "127.0.0.1"),
            ("DNS_ZONE", "test"),
            ("DNS_NAME", "web"),
            ("READY_CHECK", "none"),
        ];
        let vars = vars.iter().chain(more).map(|(name, value)| (name.into(), value.into()));
        let rules = Config::from_vars(vars).unwrap().container.dns.unwrap();
        let me = Claim {
            zone: dns_name("test"),
            shared: dns_name("web.test"),
            addr: HERE.into(),
            mark: Mark::Port(80),
            holds: rules.lease,
            node: None,
            srv: None,
            ptr: None,
        };
        let node = match &rules.node {
            Some(_) => Node::Free(dns_name("a.test")),
            None => Node::None,
        };
        let ptrs = rules.ptr.then(Vec::new);
        let view = View { me, texts: Vec::new(), shared: Vec::new(), node, ptrs, trouble: None };
        Self { phase: Phase::Unknown, rules, now: Instant::now(), nonce: 0, view }
    }

    /// Looks, as the phase asks for it, and decides.
    fn look(&mut self, wish: Desired) -> (Step, Option<Standing>, Vec<News>) {
        let seen = match self.phase.ask(wish) {
            Ask::Nothing => Seen::Nothing,
            Ask::Me => Seen::Me(self.view.me.clone(), self.view.texts.clone()),
            Ask::Lease(_) => Seen::Lease(self.view.texts.clone()),
            Ask::All => Seen::All(self.view.clone()),
        };
        self.nonce += 1;
        let at = Moment { now: self.now, nonce: self.nonce, luck: 0.5 };
        let next = next(std::mem::take(&mut self.phase), &seen, wish, &self.rules, at);
        self.phase = next.phase;
        (next.step, next.standing, next.news)
    }

    /// Carries an update out, as a server does.
    fn carry_out(&mut self, changes: &[Change]) {
        for change in changes {
            let (added, rr) = match change {
                Change::Add(rr) => (true, rr),
                Change::Delete(rr) => (false, rr),
            };
            match &rr.data {
                Data::Addr(addr) if rr.owner == self.view.me.shared => {
                    self.view.shared.retain(|there| there != addr);
                    self.view.shared.extend(added.then_some(*addr));
                }
                Data::Txt(text) if rr.owner.to_string().contains("_lease") => {
                    self.view.texts.retain(|there| there != text);
                    self.view.texts.extend(added.then(|| text.clone()));
                }
                Data::Txt(_) => {
                    let name = rr.owner.clone();
                    let mine = Node::Mine { name: name.clone(), whole: true };
                    if added {
                        self.view.node = mine;
                    } else if self.view.node == mine {
                        self.view.node = Node::Free(name);
                    }
                }
                Data::Ptr(target) => {
                    let ptrs = self.view.ptrs.get_or_insert_default();
                    ptrs.retain(|there| there != target);
                    ptrs.extend(added.then(|| target.clone()));
                }
                _ => {}
            }
        }
        self.phase.answered(Some(Outcome::Done));
    }

    /// Steps, each carried out, until there is a rest; that, and where it left the container.
    fn settle(&mut self, wish: Desired) -> (Duration, Option<Standing>) {
        for _ in 0..10 {
            let (step, standing, _) = self.look(wish);
            match step {
                Step::Rest(rest) if !rest.is_zero() => return (rest, standing),
                Step::Rest(_) => {}
                Step::Update(update) | Step::Extra(update) => self.carry_out(&update.changes),
                Step::Reverse(_, changes) => self.carry_out(&changes),
            }
        }
        panic!("it does not come to rest: {:?}", self.phase)
    }

    fn serving(more: &[(&str, &str)]) -> Self {
        let mut one = Self::new(more);
        assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
        one
    }

    fn update(&mut self, wish: Desired) -> Update {
        match self.look(wish).0 {
            Step::Update(update) => update,
            step => panic!("no update: {step:?}"),
        }
    }

    fn lease(&self) -> Lease {
        Lease::parse(&self.view.texts[0]).unwrap()
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_container_comes_in_and_goes_out_and_nothing_is_left() {
    let mut one = Container::new(&[("DNS_NODE_NAME", "a"), ("DNS_PTR", "1")]);
    assert_eq!(one.settle(Desired::Absent), (IDLE, Some(Standing::Absent)));
    assert_eq!(one.settle(Desired::Serving), (secs(15), Some(Standing::Serving)));
    assert_eq!(one.view.shared, [IpAddr::from(HERE)]);
    assert_eq!(one.view.ptrs, Some(vec![dns_name("a.test")]));
    assert_eq!(one.lease().node, Some(dns_name("a.test")));
    assert_eq!(one.settle(Desired::Draining), (IDLE, Some(Standing::Idle)));
    assert_eq!((one.view.shared.len(), one.view.texts.len()), (0, 0));
    assert_eq!((one.view.node, one.view.ptrs), (Node::Free(dns_name("a.test")), Some(Vec::new())));
}

#[test]
fn the_address_comes_first_then_the_nodes_name_then_its_ptr_record() {
    let mut one = Container::new(&[("DNS_NODE_NAME", "a"), ("DNS_PTR", "1")]);
    let update = one.update(Desired::Serving);
    one.carry_out(&update.changes);
    let (Step::Extra(update), Some(Standing::Serving), _) = one.look(Desired::Serving) else {
        panic!("{:?}", one.phase)
    };
    assert!(update.prerequisites.contains(&Prerequisite::Unused(dns_name("a.test"))));
    one.carry_out(&update.changes);
    let (step, standing, _) = one.look(Desired::Serving);
    assert!(matches!(step, Step::Reverse(..)), "{step:?}");
    assert_eq!(standing, Some(Standing::Serving));
}

#[test]
fn a_lease_is_renewed_when_a_quarter_of_it_is_over() {
    let mut one = Container::serving(&[]);
    let nonce = one.lease().nonce;
    one.now += secs(29);
    assert_eq!(one.settle(Desired::Serving).0, secs(1));
    assert_eq!(one.lease().nonce, nonce);
    one.now += secs(1);
    assert_eq!(one.settle(Desired::Serving).0, secs(15));
    assert_ne!(one.lease().nonce, nonce);
}

#[test]
fn a_lost_answer_is_explained_by_the_next_look() {
    let mut one = Container::new(&[]);
    let update = one.update(Desired::Serving);
    // It is made, and nobody hears of it.
    let phase = one.phase.clone();
    one.carry_out(&update.changes);
    one.phase = phase;
    one.phase.answered(None);
    assert_eq!(one.settle(Desired::Serving), (secs(15), Some(Standing::Serving)));
    assert_eq!(one.lease().nonce, 1, "nothing was sent again");
    // It is lost, and the container has to leave: what may be in DNS is taken out.
    let mut one = Container::new(&[]);
    one.update(Desired::Serving);
    one.phase.answered(None);
    let delete = Change::Delete(Rr::new(&dns_name("web.test"), Data::Addr(HERE.into())));
    assert!(one.update(Desired::Draining).changes.contains(&delete));
}

#[test]
fn what_the_server_has_lost_is_put_back() {
    let mut one = Container::serving(&[]);
    one.view.shared.clear();
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    assert_eq!(one.view.shared, [IpAddr::from(HERE)]);
    one.view.texts.clear();
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    assert_eq!(one.view.texts.len(), 1);
}

#[test]
fn a_former_address_is_given_back_before_the_new_one_is_claimed() {
    let mut one = Container::serving(&[]);
    one.view.me.addr = ELSEWHERE.into();
    assert_eq!(one.look(Desired::Serving).0, Step::Rest(Duration::ZERO));
    let update = one.update(Desired::Serving);
    assert!(update.changes.iter().all(|change| matches!(change, Change::Delete(_))));
    one.carry_out(&update.changes);
    let (step, _, news) = one.look(Desired::Serving);
    assert!(step == Step::Rest(Duration::ZERO) && matches!(news[..], [News::Left(_)]), "{news:?}");
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    assert_eq!(one.view.shared, [IpAddr::from(ELSEWHERE)]);
    // Nobody has looked since it moved again, and it has to stop: what it has goes out.
    one.view.me.addr = HERE.into();
    assert_eq!(one.settle(Desired::Draining).1, Some(Standing::Idle));
    assert_eq!((one.view.shared.len(), one.view.texts.len()), (0, 0));
}

#[test]
fn a_former_address_that_somebody_else_has_now_is_left_to_him() {
    let mut one = Container::serving(&[]);
    let his = Lease { nonce: 99, ..one.lease() }.text();
    one.view.texts = vec![his.clone()];
    one.view.me.addr = ELSEWHERE.into();
    assert_eq!(one.look(Desired::Serving).0, Step::Rest(Duration::ZERO));
    let (step, _, news) = one.look(Desired::Serving);
    assert!(step == Step::Rest(Duration::ZERO) && matches!(news[..], [News::Left(_)]), "{news:?}");
    assert_eq!((one.view.shared.len(), &one.view.texts), (1, &vec![his]));
}

#[test]
fn the_nodes_name_follows_the_slot() {
    let mut one = Container::serving(&[("DNS_NODE_NAME", "a"), ("DNS_PTR", "1")]);
    one.view.node = Node::Free(dns_name("b.test"));
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    assert_eq!(one.lease().node, Some(dns_name("b.test")));
    assert_eq!(one.view.ptrs, Some(vec![dns_name("b.test")]));
}

#[test]
fn what_the_server_takes_and_does_not_show_is_told_soon() {
    let mut one = Container::new(&[]);
    for tries in 1..=IGNORED_AFTER {
        one.update(Desired::Serving);
        one.phase.answered(Some(Outcome::Done));
        let told = (tries == IGNORED_AFTER).then(|| dns_name("web.test"));
        assert_eq!(one.phase.in_vain(Outcome::Done), told, "{tries}");
    }
}

#[test]
fn a_conflict_that_lasts_is_told_and_one_that_ends_is_not() {
    let mut one = Container::new(&[]);
    for tries in 1..=CONTESTED_AFTER {
        one.update(Desired::Serving);
        one.phase.answered(Some(Outcome::Conflict));
        let lease = dns_name("10-0-0-5._lease.web.test");
        let told = (tries == CONTESTED_AFTER).then_some(lease);
        assert_eq!(one.phase.in_vain(Outcome::Conflict), told, "{tries}");
    }
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    one.now += secs(30);
    one.update(Desired::Serving);
    assert_eq!(one.phase.in_vain(Outcome::Conflict), None, "counted anew");
}

#[test]
fn a_nodes_name_in_use_without_records_of_ours_is_told_and_tried_seldom() {
    let mut one = Container::new(&[("DNS_NODE_NAME", "a")]);
    let update = one.update(Desired::Serving);
    one.carry_out(&update.changes);
    let mut tries = 0;
    let news = loop {
        match one.look(Desired::Serving) {
            (Step::Extra(_), ..) => one.phase.answered(Some(Outcome::Conflict)),
            (Step::Rest(_), Some(Standing::Serving), news) => break news,
            (step, ..) => panic!("{step:?}"),
        }
        tries += 1;
    };
    assert_eq!(tries, EXTRAS);
    assert_eq!(news[1], News::NodeTaken { name: dns_name("a.test"), holder: None });
    assert_eq!(one.lease().node, None);
    assert!(matches!(one.look(Desired::Serving).0, Step::Extra(_)));
    one.phase.answered(Some(Outcome::Conflict));
    assert!(matches!(one.look(Desired::Serving).0, Step::Rest(_)), "once at each look");
}

#[test]
fn what_one_before_me_left_is_taken_out() {
    let mut one = Container::serving(&[]);
    one.phase = Phase::Unknown;
    assert_eq!(one.settle(Desired::Absent), (IDLE, Some(Standing::Absent)));
    assert_eq!((one.view.shared.len(), one.view.texts.len()), (0, 0));
}

#[test]
fn without_leases_it_leaves_when_the_server_has_said_so() {
    let mut one = Container::serving(&[("DNS_LEASE", "0")]);
    assert_eq!(one.view.texts.len(), 0);
    one.update(Desired::Draining);
    one.phase.answered(None);
    let update = one.update(Desired::Draining);
    one.carry_out(&update.changes);
    assert_eq!(one.settle(Desired::Draining), (IDLE, Some(Standing::Idle)));
    assert_eq!(one.view.shared.len(), 0);
}
