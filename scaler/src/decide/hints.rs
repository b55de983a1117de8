//! Alerts: all that came in together are one bounded step, taken or left within their time to live.

use super::demand::Demand;
use super::{Bounds, HintOutcome, Limited};
use crate::history::History;
use crate::observation::Hint;
use crate::policy::{Direction, Policy};
use crate::timestamp::Timestamp;
use std::fmt::Write as _;
use std::time::Duration;

/// The live alerts of one observation and where they lead.
pub(super) struct Hints<'a> {
    list: &'a [Hint],
    fates: Vec<Fate>,
    /// Replicas that the alerts up ask for; those alive when there are none.
    pub(super) up_to: u32,
    /// Replicas that the alerts down ask for; those alive when there are none.
    pub(super) down_to: u32,
}

/// What an alert comes to.
enum Fate {
    Settled(HintOutcome),
    /// Processed when this many are reached.
    Up(u32),
    /// Processed when it is down to this many.
    Down(u32),
    /// Processed when nothing is lost any more.
    Restore,
}

impl<'a> Hints<'a> {
    /// Turns the alerts of each direction into one step, within the bounds of the policy and of
    /// whoever goes furthest. Up beats down.
    pub(super) fn sort(
        policy: &Policy,
        list: &'a [Hint],
        bounds: &Bounds,
        alive: u32,
        now: Timestamp,
    ) -> Self {
        let mut hints = Self { list, fates: Vec::new(), up_to: alive, down_to: alive };
        for hint in list {
            let skip = |why: String| Fate::Settled(HintOutcome::Skipped(why));
            let step = policy.alert_step;
            let fate = match hint.action.direction() {
                _ if now >= hint.expires => skip(format!(
                    "it is {} s old and no longer counts",
                    now.since(hint.at).as_secs()
                )),
                None if policy.actions.availability() => Fate::Restore,
                Some(direction) if policy.actions.allows(direction) => match direction {
                    Direction::Up => {
                        let most = bounds.max.min(hint.max.unwrap_or(u32::MAX));
                        let upto = alive.saturating_add(step).min(most);
                        if alive >= most {
                            skip(format!("already at the maximum of {most}"))
                        } else {
                            hints.up_to = hints.up_to.max(upto);
                            Fate::Up(upto)
                        }
                    }
                    Direction::Down => {
                        let least = bounds.min.max(hint.min.unwrap_or(0));
                        let downto = alive.saturating_sub(step).max(least);
                        if alive <= least {
                            skip(format!("already at the minimum of {least}"))
                        } else {
                            hints.down_to = hints.down_to.min(downto);
                            Fate::Down(downto)
                        }
                    }
                },
                _ => skip(format!("autoscale_action of the policy has no {}", hint.action)),
            };
            hints.fates.push(fate);
        }
        if hints.up_to > alive {
            let outcome = HintOutcome::Skipped("another alert asks for more".into());
            hints.refuse(Direction::Down, alive, &outcome);
        }
        hints
    }

    /// A step waits until the one before it can have shown what it does, `start_time` after it.
    /// Going down takes the consent of every metric besides, and no start within the down window.
    pub(super) fn agree(
        &mut self,
        policy: &Policy,
        memory: &History,
        demand: &Demand<'_>,
        tracked: Option<u32>,
        alive: u32,
        now: Timestamp,
    ) {
        let since = |way| memory.last_act(Some(way)).map(|act| now.since(act.at));
        let lately = |way, limit| since(way).filter(|since: &Duration| *since < limit);
        let step = |verb: &str, since: Duration| {
            HintOutcome::Pending(format!("the last {verb} was only {} s ago", since.as_secs()))
        };
        if self.up_to > alive {
            if let Some(since) = lately(Direction::Up, policy.start_time) {
                self.refuse(Direction::Up, alive, &step("start", since));
            }
            return;
        }
        if self.down_to >= alive {
            return;
        }
        let outcome = if let Some(blind) = demand.blind() {
            HintOutcome::Pending(blind.to_string())
        } else if let Some(want) = tracked
            && want > self.down_to
        {
            HintOutcome::Skipped(format!("the metrics ask for {want}"))
        } else if let Some(since) = lately(Direction::Up, policy.down.window) {
            step("start", since)
        } else if let Some(since) = lately(Direction::Down, policy.start_time) {
            step("stop", since)
        } else {
            return;
        };
        self.refuse(Direction::Down, alive, &outcome);
    }

    /// None of those that go this way is acted upon.
    pub(super) fn refuse(&mut self, way: Direction, alive: u32, outcome: &HintOutcome) {
        match way {
            Direction::Up => self.up_to = alive,
            Direction::Down => self.down_to = alive,
        }
        let goes = |fate: &&mut Fate| match fate {
            Fate::Up(_) => way == Direction::Up,
            Fate::Down(_) => way == Direction::Down,
            Fate::Settled(_) | Fate::Restore => false,
        };
        for fate in self.fates.iter_mut().filter(goes) {
            *fate = Fate::Settled(outcome.clone());
        }
    }

    /// The first alert that asked for this direction, for the reason.
    pub(super) fn asking(&self, direction: Direction) -> Option<&'a Hint> {
        let asks = |fate: &Fate| match fate {
            Fate::Up(_) => direction == Direction::Up,
            Fate::Down(_) => direction == Direction::Down,
            Fate::Settled(_) | Fate::Restore => false,
        };
        self.fates.iter().zip(self.list).find(|(fate, _)| asks(fate)).map(|(_, hint)| hint)
    }

    /// What became of each, once it is known how far it goes.
    pub(super) fn outcomes(
        self,
        restored: bool,
        to: u32,
        limited_by: &[Limited],
    ) -> Vec<(String, HintOutcome)> {
        let wait = || {
            let mut why = String::new();
            for limit in limited_by {
                let comma = if why.is_empty() { "" } else { "; " };
                // Writing to a string cannot fail.
                let _ = write!(why, "{comma}{limit}");
            }
            match limited_by.last() {
                Some(Limited::DryRun) => HintOutcome::Skipped(why),
                _ => HintOutcome::Pending(why),
            }
        };
        let outcome = |(hint, fate): (&Hint, Fate)| {
            let done = match fate {
                Fate::Settled(outcome) => return (hint.key.clone(), outcome),
                Fate::Up(upto) => to >= upto,
                Fate::Down(downto) => to <= downto,
                Fate::Restore => restored,
            };
            (hint.key.clone(), if done { HintOutcome::Processed } else { wait() })
        };
        self.list.iter().zip(self.fates).map(outcome).collect()
    }
}
