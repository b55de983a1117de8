use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::registers::traefik::client::Found;

const HERE: &str = "10.0.0.5:80";
const KEY: &str = "traefik/http/services/web/loadbalancer/servers/10.0.0.5:80/url";
const KEPT: &str = "traefik/http/services/web/loadbalancer/passhostheader";
const RULE: &str = "traefik/http/routers/web/rule";

/// One container, and a store that does what it is told.
struct Container {
    phase: Phase,
    rules: Rules,
    now: Instant,
    at: SocketAddr,
    store: BTreeMap<String, String>,
    traefik: Option<Shown>,
    news: Vec<News>,
}

impl Container {
    fn new(more: &[(&str, &str)]) -> Self {
        let vars =
            [("TRAEFIK_KV", "redis://127.0.0.1"), ("SERVICE_NAME", "web"), ("APP_PORT", "80")];
        let vars = vars.iter().chain(more).map(|(name, value)| (name.into(), value.into()));
        let settings = Config::from_vars(vars).unwrap().container.traefik.unwrap();
        Self {
            phase: Phase::Unknown,
            rules: Rules::new(&settings),
            now: Instant::now(),
            at: HERE.parse().unwrap(),
            store: BTreeMap::new(),
            traefik: None,
            news: Vec::new(),
        }
    }

    fn found(&self, key: &str) -> Option<Found> {
        let value = self.store.get(key)?.clone();
        Some(Found { value, leased: true })
    }

    /// Looks, as the phase asks for it.
    fn look(&self, wish: Desired) -> Seen {
        let key = self.rules.keys.server(self.at).0;
        match self.phase.ask(wish, &self.rules, self.now) {
            Ask::Nothing => Seen::Nothing,
            Ask::Own => Seen::Own { at: self.at, there: self.store.contains_key(&key) },
            Ask::Passing(at) => {
                let there = self.store.contains_key(&self.rules.keys.server(at).0);
                Seen::Passing { there, traefik: self.traefik.clone() }
            }
            Ask::All { strays, traefik } => {
                let (_, url) = self.rules.keys.server(self.at);
                let servers = self.store.iter().filter(|(other, value)| {
                    other.starts_with(&self.rules.keys.servers())
                        && **value == url
                        && **other != key
                });
                let found = servers.map(|(other, _)| other.clone()).collect();
                Seen::All(View {
                    at: self.at,
                    own: self.found(&key),
                    kept: self.store.contains_key(KEPT),
                    route: self
                        .rules
                        .route
                        .iter()
                        .map(|(key, _)| self.store.get(key).cloned())
                        .collect(),
                    strays: strays.then_some(found),
                    traefik: self.traefik.clone().filter(|_| traefik),
                })
            }
        }
    }

    /// Looks, decides, and carries the step out.
    fn turn(&mut self, wish: Desired) -> (Step, Option<Standing>) {
        let seen = self.look(wish);
        let at = Moment { now: self.now, luck: 0.5 };
        let next = next(std::mem::take(&mut self.phase), &seen, wish, &self.rules, at);
        self.phase = next.phase;
        self.news.extend(next.news);
        match &next.step {
            Step::Rest(_) => {}
            Step::Put((key, value)) | Step::Renew((key, value)) => {
                self.store.insert(key.clone(), value.clone());
            }
            Step::Add((key, value)) => {
                self.store.entry(key.clone()).or_insert_with(|| value.clone());
            }
            Step::Route(keys) => {
                for (key, value) in keys {
                    match value {
                        Some(value) => drop(self.store.insert(key.clone(), value.clone())),
                        None => drop(self.store.remove(key)),
                    }
                }
            }
            Step::Remove(keys) => keys.iter().for_each(|key| drop(self.store.remove(key))),
        }
        if !matches!(next.step, Step::Rest(_)) {
            self.phase.done(&next.step, self.now);
        }
        (next.step, next.standing)
    }

    /// Turns until there is a rest; that, and where it left the container.
    fn settle(&mut self, wish: Desired) -> (Duration, Option<Standing>) {
        for _ in 0..10 {
            if let (Step::Rest(rest), standing) = self.turn(wish) {
                return (rest, standing);
            }
        }
        panic!("it does not come to rest: {:?}", self.phase)
    }

    fn serving(more: &[(&str, &str)]) -> Self {
        let mut one = Self::new(more);
        assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
        one
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const DRAINING: Option<Standing> = Some(Standing::Draining { sessions: 0 });

#[test]
fn a_container_comes_in_and_goes_out_and_the_service_stays() {
    let mut one = Container::new(&[]);
    assert_eq!(one.settle(Desired::Absent), (IDLE, Some(Standing::Absent)));
    assert!(matches!(one.turn(Desired::Serving).0, Step::Add((key, _)) if key == KEPT));
    assert!(matches!(one.turn(Desired::Serving).0, Step::Put((key, _)) if key == KEY));
    assert_eq!(one.settle(Desired::Serving), (ms(1000), Some(Standing::Serving)));
    assert_eq!(one.store[KEY], "http://10.0.0.5:80");
    assert_eq!(one.settle(Desired::Draining), (ms(2200), DRAINING));
    assert_eq!(one.store.keys().collect::<Vec<_>>(), [KEPT]);
    one.pass(ms(2200));
    assert_eq!(one.settle(Desired::Draining), (IDLE, Some(Standing::Idle)));
    assert_eq!(one.settle(Desired::Absent), (IDLE, Some(Standing::Absent)));
    assert_eq!(one.news.last(), Some(&News::Left(one.at)));
}

#[test]
fn a_look_that_finds_all_in_order_changes_nothing_until_a_third_of_the_lease_is_over() {
    let mut one = Container::serving(&[]);
    for _ in 0..4 {
        one.pass(ms(1000));
        assert!(matches!(one.turn(Desired::Serving), (Step::Rest(_), Some(Standing::Serving))));
    }
    one.pass(ms(999));
    assert_eq!(one.turn(Desired::Serving).0, Step::Rest(ms(50)));
    one.pass(ms(1));
    assert!(matches!(one.turn(Desired::Serving), (Step::Renew(_), Some(Standing::Serving))));
    assert_eq!(one.settle(Desired::Serving).0, ms(1000));
}

#[test]
fn what_is_missing_or_wrong_is_put_back() {
    let mut one = Container::serving(&[]);
    one.store.clear();
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    assert_eq!(one.store.len(), 2);
    one.store.insert(KEY.to_owned(), "http://10.9.9.9:80".to_owned());
    assert!(matches!(one.turn(Desired::Serving), (Step::Put(_), None)));
    // What an operator has set there stays.
    one.store.insert(KEPT.to_owned(), "false".to_owned());
    one.settle(Desired::Serving);
    assert_eq!(one.store[KEPT], "false");
}

#[test]
fn what_a_predecessor_at_this_address_has_left_goes_before_the_app_is_ready() {
    let mut one = Container::new(&[]);
    one.store.insert(KEY.to_owned(), "http://10.0.0.5:80".to_owned());
    assert!(matches!(one.turn(Desired::Absent).0, Step::Remove(_)));
    assert_eq!(one.settle(Desired::Absent), (IDLE, Some(Standing::Absent)));
    assert!(one.store.is_empty());
}

#[test]
fn other_keys_with_its_address_are_deleted_and_no_others() {
    let server = |name: &str| format!("traefik/http/services/web/loadbalancer/servers/{name}/url");
    let mut one = Container::new(&[]);
    one.store.insert(server("1"), "http://10.0.0.5:80".to_owned());
    one.store.insert(server("2"), "http://10.0.0.6:80".to_owned());
    one.settle(Desired::Serving);
    let (mine, other) = (KEY.to_owned(), server("2"));
    assert_eq!(one.store.keys().skip(1).collect::<Vec<_>>(), [&mine, &other]);
    assert!(one.news.contains(&News::Scrubbed(vec![server("1")])));
}

#[test]
fn a_stop_waits_until_traefik_shows_it_no_more_and_its_requests_are_over() {
    let mut one = Container::serving(&[("TRAEFIK_API", "traefik")]);
    one.traefik = Some(Shown::Yes);
    assert_eq!(one.settle(Desired::Draining), (POLL, DRAINING));
    // However long that takes.
    one.pass(ms(60_000));
    assert_eq!(one.settle(Desired::Draining), (POLL, DRAINING));
    one.traefik = Some(Shown::No);
    assert_eq!(one.settle(Desired::Draining), (POLL, DRAINING));
    one.pass(ms(240));
    assert_eq!(one.settle(Desired::Draining), (ms(10), DRAINING));
    one.pass(ms(10));
    assert_eq!(one.settle(Desired::Draining), (IDLE, Some(Standing::Idle)));
}

#[test]
fn a_traefik_that_does_not_answer_costs_the_time_that_it_may_take() {
    let mut one = Container::serving(&[("TRAEFIK_API", "traefik")]);
    one.traefik = Some(Shown::Silent("refused".to_owned()));
    assert_eq!(one.settle(Desired::Draining), (POLL, DRAINING));
    one.pass(ms(2200));
    assert_eq!(one.settle(Desired::Draining), (IDLE, Some(Standing::Idle)));
    assert!(one.news.contains(&News::ApiSilent("refused".to_owned())));
}

#[test]
fn a_late_change_of_our_own_is_deleted_again() {
    let mut one = Container::serving(&[]);
    one.settle(Desired::Draining);
    one.store.insert(KEY.to_owned(), "http://10.0.0.5:80".to_owned());
    assert!(matches!(one.turn(Desired::Draining).0, Step::Remove(_)));
    assert_eq!(one.settle(Desired::Draining), (ms(2200), DRAINING));
    assert!(!one.store.contains_key(KEY));
}

#[test]
fn it_comes_back_from_anywhere_when_it_is_to_serve_again() {
    let mut one = Container::serving(&[]);
    one.settle(Desired::Draining);
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    assert!(one.store.contains_key(KEY));
    // The delete is under way, and its answer is lost.
    one.phase = Phase::Leaving { at: one.at, moved: false };
    one.store.remove(KEY);
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    assert!(one.store.contains_key(KEY));
}

#[test]
fn an_address_that_changes_takes_its_key_with_it() {
    let mut one = Container::serving(&[]);
    one.at = "10.0.0.9:80".parse().unwrap();
    assert!(matches!(one.turn(Desired::Serving).0, Step::Remove(keys) if keys == [KEY]));
    assert_eq!(one.settle(Desired::Serving).1, Some(Standing::Serving));
    let servers: Vec<_> = one.store.values().collect();
    assert_eq!(servers, ["true", "http://10.0.0.9:80"]);
}

#[test]
fn a_traefik_that_takes_no_notice_is_worth_one_word() {
    let mut one = Container::serving(&[("TRAEFIK_API", "traefik")]);
    one.traefik = Some(Shown::No);
    let complaints = |one: &Container| one.news.iter().filter(|n| **n == News::NotTakenUp).count();
    for _ in 0..9 {
        one.pass(ms(1100));
        one.settle(Desired::Serving);
    }
    assert_eq!(complaints(&one), 0);
    for _ in 0..5 {
        one.pass(ms(1100));
        one.settle(Desired::Serving);
    }
    assert_eq!(complaints(&one), 1);
    one.traefik = Some(Shown::Yes);
    one.pass(ms(1100));
    one.settle(Desired::Serving);
    assert_eq!(one.news.last(), Some(&News::TakenUp));
}

#[test]
fn the_container_that_came_last_decides_on_the_route() {
    let route = [("TRAEFIK_RULE", "Path(`/`)"), ("TRAEFIK_ENTRYPOINTS", "web")];
    let mut one = Container::serving(&route);
    assert_eq!(one.store[RULE], "Path(`/`)");
    assert_eq!(one.store["traefik/http/routers/web/entrypoints/0"], "web");
    assert!(!one.news.iter().any(|news| matches!(news, News::Rerouted(_))));
    // Another one that came later has written its own, which stays; this one says so.
    one.store.insert(RULE.to_owned(), "Path(`/other`)".to_owned());
    one.settle(Desired::Serving);
    assert_eq!(one.store[RULE], "Path(`/other`)");
    assert!(matches!(one.news.last(), Some(News::OtherRoute(_))));
    // One that comes now says that it has changed it.
    let mut two = Container::new(&route);
    two.store = one.store.clone();
    two.settle(Desired::Serving);
    assert_eq!(two.store[RULE], "Path(`/`)");
    assert!(two.news.iter().any(|news| matches!(news, News::Rerouted(_))));
    // What is lost is put back, and it stays when the container goes.
    two.store.remove(RULE);
    two.settle(Desired::Serving);
    assert_eq!(two.store[RULE], "Path(`/`)");
    two.settle(Desired::Draining);
    assert_eq!(two.store[RULE], "Path(`/`)");
}

#[test]
fn a_store_that_shows_nothing_of_what_it_takes_is_found_out() {
    let mut one = Container::new(&[]);
    for _ in 0..4 {
        assert_eq!(one.phase.in_vain(&one.rules), None);
        assert!(!matches!(one.turn(Desired::Serving).0, Step::Rest(_)));
        one.store.clear();
    }
    assert_eq!(one.phase.in_vain(&one.rules).as_deref(), Some(KEY));
}
