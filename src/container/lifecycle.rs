//! The life of a container as a state machine: events in, actions out. It never reads a clock,
//! sends a signal or talks to a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::registers::{Desired, Report, Standing, Want};

/// Releasing may take this long on top of `DRAIN_TIMEOUT`.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(800);

/// What happens to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<S> {
    /// The app can serve.
    Ready,
    /// It can no longer.
    Unready,
    /// It was asked to stop, by this signal.
    Stop(S),
    /// A register answered.
    Report(Report),
    /// The app has ended.
    AppEnded,
    /// A deadline may have passed.
    Tick,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<S> {
    /// Tell every register.
    Want(Want),
    /// Send the app its stop signal.
    Stop(S),
    /// Send the app SIGKILL.
    Kill,
    /// Leave with the app's exit code.
    Exit,
}

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `DRAIN_TIMEOUT`.
    pub drain: Duration,
    /// `STOP_TIMEOUT`; zero = never.
    pub stop: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State<S> {
    /// The app is not ready for the first time; nothing is held.
    Starting,
    /// Registered, or about to be.
    Serving,
    /// The app's check turned; out of rotation until it recovers.
    Unready,
    /// Asked to stop; out of rotation; waiting until the work is done.
    Draining { signal: S, until: Instant },
    /// Giving the registrations back before the app is stopped.
    Releasing { signal: S, until: Instant },
    /// The app has its stop signal.
    Stopping { kill_at: Option<Instant> },
    /// The app has ended; giving back what may still be held.
    Ended { until: Instant },
    /// Nothing is left to do.
    Left,
}

/// The state of one container.
#[derive(Debug)]
pub struct Lifecycle<S> {
    limits: Limits,
    state: State<S>,
    want: Want,
    /// When waiting for the release ends, once it has begun.
    release_until: Option<Instant>,
    standings: BTreeMap<Arc<str>, (u64, Standing)>,
}

impl<S: Copy> Lifecycle<S> {
    /// A container whose app has just been started.
    pub fn new(limits: Limits) -> Self {
        let want = Want { desired: Desired::Absent, epoch: 0 };
        Self {
            limits,
            state: State::Starting,
            want,
            release_until: None,
            standings: BTreeMap::new(),
        }
    }

    /// What the registers are to begin with.
    pub fn want(&self) -> Want {
        self.want
    }

    /// When the next [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Draining { until, .. }
            | State::Releasing { until, .. }
            | State::Ended { until } => Some(until),
            State::Stopping { kill_at } => kill_at,
            State::Starting | State::Serving | State::Unready | State::Left => None,
        }
    }

    /// Takes in one event and says what to do, in order.
    pub fn on(&mut self, event: Event<S>, now: Instant) -> Vec<Action<S>> {
        let mut actions = Vec::new();
        if let Event::Report(report) = &event {
            self.note(report);
        }
        match (&self.state, event) {
            (State::Left, _) => {}
            (State::Ended { .. }, Event::AppEnded) => {}
            (_, Event::AppEnded) => {
                let until = self.release(now, &mut actions);
                self.state = State::Ended { until };
            }
            (State::Starting | State::Unready, Event::Ready) => {
                self.state = State::Serving;
                self.wish(Desired::Serving, &mut actions);
            }
            (State::Serving, Event::Unready) => {
                self.state = State::Unready;
                self.wish(Desired::Draining, &mut actions);
            }
            (State::Starting, Event::Stop(signal)) => self.stop(signal, now, &mut actions),
            (State::Serving | State::Unready, Event::Stop(signal)) => {
                self.state = State::Draining { signal, until: now + self.limits.drain };
                self.wish(Desired::Draining, &mut actions);
            }
            (State::Draining { .. } | State::Releasing { .. }, Event::Stop(signal)) => {
                self.release(now, &mut actions);
                self.stop(signal, now, &mut actions);
            }
            (State::Stopping { .. }, Event::Stop(signal)) => actions.push(Action::Stop(signal)),
            _ => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Moves on when what a state waits for has come, or its deadline.
    fn advance(&mut self, now: Instant, actions: &mut Vec<Action<S>>) {
        if let State::Draining { signal, until } = self.state
            && (now >= until || self.all(&[Standing::Absent, Standing::Idle]))
        {
            let until = self.release(now, actions);
            self.state = State::Releasing { signal, until };
        }
        if let State::Releasing { signal, until } = self.state
            && (now >= until || self.all(&[Standing::Absent]))
        {
            self.stop(signal, now, actions);
        }
        match self.state {
            State::Stopping { kill_at: Some(at) } if now >= at => {
                self.state = State::Stopping { kill_at: None };
                actions.push(Action::Kill);
            }
            State::Ended { until } if now >= until || self.all(&[Standing::Absent]) => {
                self.state = State::Left;
                actions.push(Action::Exit);
            }
            _ => {}
        }
    }

    fn stop(&mut self, signal: S, now: Instant, actions: &mut Vec<Action<S>>) {
        let kill_at = (!self.limits.stop.is_zero()).then(|| now + self.limits.stop);
        self.state = State::Stopping { kill_at };
        actions.push(Action::Stop(signal));
    }

    /// Gives everything back, for good. The time for it runs once, whatever else happens.
    fn release(&mut self, now: Instant, actions: &mut Vec<Action<S>>) -> Instant {
        self.wish(Desired::Absent, actions);
        *self.release_until.get_or_insert(now + RELEASE_TIMEOUT)
    }

    fn wish(&mut self, desired: Desired, actions: &mut Vec<Action<S>>) {
        if self.want.desired != desired {
            self.want = Want { desired, epoch: self.want.epoch + 1 };
            actions.push(Action::Want(self.want));
        }
    }

    fn note(&mut self, report: &Report) {
        match &report.standing {
            Some(standing) => {
                self.standings
                    .insert(Arc::clone(&report.register), (report.epoch, standing.clone()));
            }
            None => {
                self.standings.remove(&report.register);
            }
        }
    }

    /// Whether every register has come to one of `standings` in answer to the present wish. One
    /// that cannot be reached is not waited for.
    fn all(&self, standings: &[Standing]) -> bool {
        self.standings.values().all(|(epoch, standing)| {
            *standing == Standing::Unreachable
                || *epoch == self.want.epoch && standings.contains(standing)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: i32 = 15;

    struct Life {
        cycle: Lifecycle<i32>,
        now: Instant,
    }

    impl Life {
        fn new() -> Self {
            let limits = Limits { drain: Duration::from_secs(5), stop: Duration::from_secs(10) };
            let mut life = Self { cycle: Lifecycle::new(limits), now: Instant::now() };
            life.report("a", Standing::Absent);
            life
        }

        fn serving() -> Self {
            let mut life = Self::new();
            assert_eq!(life.on(Event::Ready), [want(Desired::Serving, 1)]);
            assert_eq!(life.report("a", Standing::Serving), []);
            life
        }

        fn on(&mut self, event: Event<i32>) -> Vec<Action<i32>> {
            self.cycle.on(event, self.now)
        }

        fn report(&mut self, register: &str, standing: Standing) -> Vec<Action<i32>> {
            let epoch = self.cycle.want.epoch;
            self.on(report(register, epoch, standing))
        }

        fn after(&mut self, millis: u64) -> Vec<Action<i32>> {
            self.now += Duration::from_millis(millis);
            self.on(Event::Tick)
        }
    }

    fn report(register: &str, epoch: u64, standing: Standing) -> Event<i32> {
        Event::Report(Report { register: register.into(), epoch, standing: Some(standing) })
    }

    fn want(desired: Desired, epoch: u64) -> Action<i32> {
        Action::Want(Want { desired, epoch })
    }

    #[test]
    fn a_stop_drains_then_releases_then_stops_the_app() {
        let mut life = Life::serving();
        assert_eq!(life.on(Event::Stop(TERM)), [want(Desired::Draining, 2)]);
        assert_eq!(life.report("a", Standing::Draining { sessions: 3 }), []);
        assert_eq!(life.report("a", Standing::Idle), [want(Desired::Absent, 3)]);
        assert_eq!(life.report("a", Standing::Absent), [Action::Stop(TERM)]);
        assert_eq!(life.on(Event::AppEnded), [Action::Exit]);
    }

    #[test]
    fn a_drain_ends_at_its_deadline_and_a_release_at_its_own() {
        let mut life = Life::serving();
        life.on(Event::Stop(TERM));
        assert_eq!(life.after(4_999), []);
        assert_eq!(life.after(1), [want(Desired::Absent, 3)]);
        assert_eq!(life.after(799), []);
        assert_eq!(life.after(1), [Action::Stop(TERM)]);
        assert_eq!(life.after(9_999), []);
        assert_eq!(life.after(1), [Action::Kill]);
        assert_eq!(life.on(Event::AppEnded), [Action::Exit], "the release has had its time");
    }

    #[test]
    fn an_answer_to_an_older_wish_ends_no_wait() {
        let mut life = Life::serving();
        life.on(Event::Stop(TERM));
        assert_eq!(life.on(report("a", 1, Standing::Absent)), []);
        assert_eq!(life.on(report("a", 2, Standing::Idle)), [want(Desired::Absent, 3)]);
        assert_eq!(life.on(report("a", 2, Standing::Absent)), []);
    }

    #[test]
    fn one_that_cannot_be_reached_is_not_waited_for() {
        let mut life = Life::serving();
        life.report("b", Standing::Unreachable);
        life.on(Event::Stop(TERM));
        assert_eq!(life.report("a", Standing::Idle), [want(Desired::Absent, 3)]);
        assert_eq!(life.report("a", Standing::Unreachable), [Action::Stop(TERM)]);
    }

    #[test]
    fn the_slowest_register_ends_the_drain() {
        let mut life = Life::serving();
        life.report("b", Standing::Serving);
        life.on(Event::Stop(TERM));
        assert_eq!(life.report("a", Standing::Idle), []);
        assert_eq!(life.report("b", Standing::Idle), [want(Desired::Absent, 3)]);
    }

    #[test]
    fn a_second_stop_skips_the_drain() {
        let mut life = Life::serving();
        life.on(Event::Stop(TERM));
        assert_eq!(life.on(Event::Stop(2)), [want(Desired::Absent, 3), Action::Stop(2)]);
        assert_eq!(life.on(Event::Stop(TERM)), [Action::Stop(TERM)], "a third reaches the app too");
    }

    #[test]
    fn an_app_that_is_not_ready_is_stopped_at_once() {
        assert_eq!(Life::new().on(Event::Stop(TERM)), [Action::Stop(TERM)]);
    }

    #[test]
    fn an_app_that_ends_by_itself_is_released_before_we_leave() {
        let mut life = Life::serving();
        assert_eq!(life.on(Event::AppEnded), [want(Desired::Absent, 2)]);
        assert_eq!(life.report("a", Standing::Absent), [Action::Exit]);

        let mut life = Life::serving();
        life.on(Event::AppEnded);
        assert_eq!(life.after(800), [Action::Exit], "a hanging HAProxy holds nobody up");
    }

    #[test]
    fn an_app_that_turns_unready_drains_and_comes_back() {
        let mut life = Life::serving();
        assert_eq!(life.on(Event::Unready), [want(Desired::Draining, 2)]);
        assert_eq!(life.report("a", Standing::Idle), []);
        assert_eq!(life.on(Event::Ready), [want(Desired::Serving, 3)]);
        assert_eq!(life.on(Event::Unready), [want(Desired::Draining, 4)]);
        assert_eq!(life.on(Event::Stop(TERM)), [], "it drains already");
        assert_eq!(life.report("a", Standing::Idle), [want(Desired::Absent, 5)]);
    }
}
