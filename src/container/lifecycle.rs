//! The life of a container as a state machine: events in, actions out. It never reads a clock,
//! sends a signal or talks to a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::few::Few;
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
    /// It was asked to stop.
    Stop(Stop<S>),
    /// It is there and serves, as [`Action::Look`] found.
    StillServes,
    /// A register answered.
    Report(Report),
    /// The app has ended.
    AppEnded,
    /// A deadline may have passed.
    Tick,
}

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop<S> {
    /// The signal by which it came.
    pub signal: S,
    /// An app that is still there so long after its stop signal may have survived it.
    pub survived_after: Duration,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<S> {
    /// Tell every register.
    Want(Want),
    /// Send the app its stop signal.
    Stop(S),
    /// Find out whether the app serves still, until it does: [`Event::StillServes`].
    Look,
    /// Look no longer.
    LookAway,
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
    Draining { stop: Stop<S>, until: Instant },
    /// Giving the registrations back before the app is stopped.
    Releasing { stop: Stop<S>, until: Instant },
    /// The app has its stop signal, and SIGKILL follows: there is no way back.
    Stopping { kill_at: Option<Instant> },
    /// The app has its stop signal, and may survive it. From `look_at` on somebody looks.
    Stopped { look_at: Option<Instant> },
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
    /// What the app's check says.
    ready: bool,
    /// When waiting for the release ends, once it has begun.
    release_until: Option<Instant>,
    standings: Few<Arc<str>, (u64, Standing)>,
}

impl<S: Copy> Lifecycle<S> {
    /// A container whose app has just been started.
    pub fn new(limits: Limits) -> Self {
        let want = Want { desired: Desired::Absent, epoch: 0 };
        Self {
            limits,
            state: State::Starting,
            want,
            ready: false,
            release_until: None,
            standings: Few::default(),
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
            State::Stopped { look_at } => look_at,
            State::Starting | State::Serving | State::Unready | State::Left => None,
        }
    }

    /// The stop signal that the app has not got yet.
    pub fn stop_owed(&self) -> Option<S> {
        match self.state {
            State::Draining { stop, .. } | State::Releasing { stop, .. } => Some(stop.signal),
            _ => None,
        }
    }

    /// Whether the app has got its stop signal.
    pub fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping { .. } | State::Stopped { .. })
    }

    /// Whether every register has said so in answer to the present wish.
    pub fn holds_nothing(&self) -> bool {
        let answers = self.standings.values();
        answers.into_iter().all(|answer| *answer == (self.want.epoch, Standing::Absent))
    }

    /// Takes in one event and says what to do, in order.
    pub fn on(&mut self, event: Event<S>, now: Instant) -> Vec<Action<S>> {
        let mut actions = Vec::new();
        match &event {
            Event::Report(report) => self.note(report),
            Event::Ready => self.ready = true,
            Event::Unready => self.ready = false,
            _ => {}
        }
        match (&self.state, event) {
            (State::Left, _) | (State::Ended { .. }, Event::AppEnded) => {}
            (_, Event::AppEnded) => {
                let until = self.release(now, &mut actions);
                self.state = State::Ended { until };
            }
            (State::Starting | State::Unready, Event::Ready) => self.serve(&mut actions),
            (State::Serving, Event::Unready) => {
                self.state = State::Unready;
                self.wish(Desired::Draining, &mut actions);
            }
            (State::Serving | State::Unready, Event::Stop(stop)) => {
                self.state = State::Draining { stop, until: now + self.limits.drain };
                self.wish(Desired::Draining, &mut actions);
            }
            (State::Draining { .. } | State::Releasing { .. }, Event::Stop(stop)) => {
                self.release(now, &mut actions);
                self.stop(stop, now, &mut actions);
            }
            (State::Starting, Event::Stop(stop)) => self.stop(stop, now, &mut actions),
            (State::Stopping { .. }, Event::Stop(stop)) => actions.push(Action::Stop(stop.signal)),
            (State::Stopped { look_at }, Event::Stop(stop)) => {
                actions.extend(look_at.is_none().then_some(Action::LookAway));
                self.stop(stop, now, &mut actions);
            }
            (State::Stopped { look_at: None }, Event::StillServes) => self.survived(&mut actions),
            _ => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Moves on when what a state waits for has come, or its deadline.
    fn advance(&mut self, now: Instant, actions: &mut Vec<Action<S>>) {
        if let State::Draining { stop, until } = self.state
            && (now >= until || self.all(&[Standing::Absent, Standing::Idle]))
        {
            let until = self.release(now, actions);
            self.state = State::Releasing { stop, until };
        }
        if let State::Releasing { stop, until } = self.state
            && (now >= until || self.all(&[Standing::Absent]))
        {
            self.stop(stop, now, actions);
        }
        match self.state {
            State::Stopping { kill_at: Some(at) } if now >= at => {
                self.state = State::Stopping { kill_at: None };
                actions.push(Action::Kill);
            }
            State::Stopped { look_at: Some(at) } if now >= at => {
                self.state = State::Stopped { look_at: None };
                actions.push(Action::Look);
            }
            State::Ended { until } if now >= until || self.all(&[Standing::Absent]) => {
                self.state = State::Left;
                actions.push(Action::Exit);
            }
            _ => {}
        }
    }

    /// Gives the app its stop signal. Only where nobody is going to kill it is there a way back.
    fn stop(&mut self, stop: Stop<S>, now: Instant, actions: &mut Vec<Action<S>>) {
        self.state = match self.limits.stop {
            Duration::ZERO => State::Stopped { look_at: Some(now + stop.survived_after) },
            limit => State::Stopping { kill_at: Some(now + limit) },
        };
        actions.push(Action::Stop(stop.signal));
    }

    /// The app has survived its stop signal: it is as if it had been started just now.
    fn survived(&mut self, actions: &mut Vec<Action<S>>) {
        self.release_until = None;
        self.state = State::Starting;
        if self.ready {
            self.serve(actions);
        }
    }

    fn serve(&mut self, actions: &mut Vec<Action<S>>) {
        self.state = State::Serving;
        self.wish(Desired::Serving, actions);
    }

    /// Gives everything back. The time for it runs once, whatever else happens meanwhile.
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
mod tests;
