//! What a host tells of its containers' ends.

use std::str::FromStr;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use nix::sys::signal::Signal;

use super::hosts::step_error;
use crate::executor::{Ending, StepError};
use crate::timestamp::Timestamp;

/// A daemon keeps this many events, of all kinds together.
const KEPT: usize = 256;
/// Nobody answers more than this.
const MOST: usize = 10_000;

/// What a host remembers.
#[derive(Debug)]
pub(super) struct Recent {
    /// Of containers, oldest first.
    events: Vec<Event>,
    /// It may have forgotten some since it began to run.
    forgetful: bool,
    /// The host's own time.
    now: Timestamp,
}

/// One event of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) action: String,
    /// Of a `kill`: the signal's number. Podman does not say.
    pub(super) signal: Option<String>,
    /// By the host's own clock.
    pub(super) at: Timestamp,
}

/// Asks a host for all that it remembers, by its own clock: with ours it would wait until its
/// clock has come so far.
pub(super) async fn recent(docker: &Docker) -> Result<Recent, StepError> {
    let info = docker.info().await.map_err(step_error)?;
    let now = info.system_time.as_deref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    let now =
        now.ok_or_else(|| StepError::Refused("it does not say what time it is".to_owned()))?;
    let until = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
    let options = EventsOptionsBuilder::new().since("0").until(&until).build();
    let mut messages = std::pin::pin!(docker.events(Some(options)).take(MOST));
    let (mut events, mut all) = (Vec::new(), 0);
    while let Some(message) = messages.next().await {
        all += 1;
        events.extend(event(message.map_err(step_error)?));
    }
    Ok(Recent { events, forgetful: all >= KEPT, now: Timestamp(now.as_millisecond()) })
}

/// An event of a container, if it is one.
pub(super) fn event(message: EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let container = message.typ.is_some_and(|typ| typ.to_string() == "container");
    let nanos = message.time_nano.or(message.time.map(|s| s.saturating_mul(1_000_000_000)));
    container.then_some(Event {
        id: actor.id?,
        action: message.action?,
        signal: actor.attributes.and_then(|mut a| a.remove("signal")),
        at: Timestamp(nanos.unwrap_or_default() / 1_000_000),
    })
}

impl Recent {
    /// Whether a container got its stop signal, or a deadly one, since `at` by our clock, which
    /// shows `now`.
    pub(super) fn signalled(
        &self,
        id: &str,
        at: Timestamp,
        now: Timestamp,
        stop_signal: &str,
    ) -> bool {
        let since = self.now - now.since(at);
        // To the second, as some hosts tell the time.
        let since = since - std::time::Duration::from_secs(1);
        let number = signal_number(stop_signal);
        let mut of = self.events.iter().filter(|e| e.id == id && e.at >= since);
        of.any(|e| e.action == "kill" && (e.is_deadly() || e.signal == number))
    }

    /// What it remembers of a container since its last start.
    pub(super) fn trail(&self, id: &str) -> Trail {
        let mut trail = Trail::default();
        self.events.iter().filter(|e| e.id == id).for_each(|e| trail.take(e));
        trail
    }

    /// Whether it would know of anything that has happened since it runs. Only Docker tells of all
    /// that it remembers.
    pub(super) async fn knows_all(&self, docker: &Docker) -> bool {
        let version = docker.version().await.unwrap_or_default();
        let mut components = version.components.into_iter().flatten();
        !self.forgetful && components.any(|c| c.name == "Engine")
    }
}

impl Event {
    /// Whether it is a signal that is meant to end it: INT, QUIT, KILL or TERM.
    fn is_deadly(&self) -> bool {
        self.signal.as_deref().is_none_or(|s| ["2", "3", "9", "15"].contains(&s))
    }
}

/// What happened to a container since it was last started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trail {
    stopped: bool,
    killed: bool,
    died: bool,
    destroyed: bool,
}

impl Trail {
    /// Takes in what happened next.
    pub(super) fn take(&mut self, event: &Event) {
        match event.action.as_str() {
            "start" => *self = Self::default(),
            "stop" => self.stopped = true,
            "kill" if event.is_deadly() => self.killed = true,
            "die" => self.died = true,
            "destroy" => self.destroyed = true,
            _ => {}
        }
    }

    /// Whether it is gone.
    pub(super) fn is_destroyed(self) -> bool {
        self.destroyed
    }

    /// What two know together of the same life.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            stopped: self.stopped || other.stopped,
            killed: self.killed || other.killed,
            died: self.died || other.died,
            destroyed: self.destroyed || other.destroyed,
        }
    }

    /// `docker stop` leaves the events kill, die and stop; `docker rm -f` kill, die and destroy; a
    /// crash leaves die alone.
    pub(super) fn ending(self) -> Option<Ending> {
        match (self.stopped, self.destroyed, self.killed, self.died) {
            (true, ..) => Some(Ending::Stopped),
            (_, true, ..) => Some(Ending::Deleted),
            (.., true, true) => Some(Ending::Stopped),
            (.., true) => Some(Ending::Crashed),
            _ => None,
        }
    }
}

/// The number of a signal that goes by a name, a number, or `SIGRTMIN+3`.
fn signal_number(name: &str) -> Option<String> {
    /// Of Linux' C libraries.
    const RTMIN: i32 = 34;
    let bare = name.trim_start_matches("SIG");
    let real_time = || bare.strip_prefix("RTMIN+")?.parse::<i32>().ok().map(|n| RTMIN + n);
    let named = || Signal::from_str(&format!("SIG{bare}")).ok().map(|s| s as i32);
    let number = bare.parse::<i32>().ok().or_else(named).or_else(real_time)?;
    Some(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, action: &str, signal: Option<&str>, at: i64) -> Event {
        let signal = signal.map(str::to_owned);
        let at = Timestamp::from_secs(at);
        Event { id: id.to_owned(), action: action.to_owned(), signal, at }
    }

    fn ending(of: &[(&str, Option<&str>)]) -> Option<Ending> {
        let events = of.iter().map(|(action, signal)| event("a", action, *signal, 1)).collect();
        Recent { events, forgetful: false, now: Timestamp(0) }.trail("a").ending()
    }

    #[test]
    fn a_stop_a_deletion_and_a_crash_are_told_apart() {
        let kill = |n| ("kill", Some(n));
        let plain = |a| (a, None);
        assert_eq!(ending(&[kill("15"), plain("die"), plain("stop")]), Some(Ending::Stopped));
        assert_eq!(ending(&[kill("9"), plain("die"), plain("destroy")]), Some(Ending::Deleted));
        assert_eq!(ending(&[kill("1"), plain("die")]), Some(Ending::Crashed));
        assert_eq!(ending(&[plain("stop"), plain("start"), plain("die")]), Some(Ending::Crashed));
        assert_eq!(ending(&[kill("15"), plain("die")]), Some(Ending::Stopped));
        assert_eq!(ending(&[kill("15")]), None, "it has not ended yet");
        assert_eq!(ending(&[]), None);
    }

    #[test]
    fn a_signal_since_the_intent_is_seen_whatever_the_hosts_clock_shows() {
        // The host is ten minutes behind us.
        let (ours, theirs) = (Timestamp::from_secs(10_600), Timestamp::from_secs(10_000));
        let intended = ours - std::time::Duration::from_secs(20);
        for (signal, at, expected) in
            [("15", 9_990, true), ("37", 9_990, true), ("1", 9_990, false), ("15", 9_900, false)]
        {
            let events = vec![event("a", "kill", Some(signal), at)];
            let recent = Recent { events, forgetful: false, now: theirs };
            let seen = recent.signalled("a", intended, ours, "SIGRTMIN+3");
            assert_eq!(seen, expected, "{signal} at {at}");
        }
    }

    #[test]
    fn signals_go_by_names_and_numbers() {
        for (name, number) in [("SIGTERM", "15"), ("QUIT", "3"), ("9", "9"), ("RTMIN+3", "37")] {
            assert_eq!(signal_number(name).as_deref(), Some(number));
        }
        assert_eq!(signal_number("nonsense"), None);
    }
}
