//! Alerts: each is one bounded step, taken or left within its time to live.

use super::demand::Demand;
use super::{Bounds, HintOutcome, Limited};
use crate::history::History;
use crate::observation::Hint;
use crate::policy::{Direction, Policy};
use crate::timestamp::Timestamp;
use std::fmt::Write as _;

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
    /// Turns each alert into a step from the last one's end, within its own and the policy's
    /// bounds. Up beats down.
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
                        if hints.up_to >= most {
                            skip(format!("already at the maximum of {most}"))
                        } else {
                            hints.up_to = hints.up_to.saturating_add(step).min(most);
                            Fate::Up(hints.up_to)
                        }
                    }
                    Direction::Down => {
                        let least = bounds.min.max(hint.min.unwrap_or(0));
                        if hints.down_to <= least {
                            skip(format!("already at the minimum of {least}"))
                        } else {
                            hints.down_to = hints.down_to.saturating_sub(step).max(least);
                            Fate::Down(hints.down_to)
                        }
                    }
                },
                _ => skip(format!("autoscale_action of the policy has no {}", hint.action)),
            };
            hints.fates.push(fate);
        }
        if hints.up_to > alive {
            hints.refuse_down(alive, HintOutcome::Skipped("another alert asks for more".into()));
        }
        hints
    }

    /// Going down takes the consent of every metric, and no start within the down window.
    pub(super) fn agree(
        &mut self,
        policy: &Policy,
        memory: &History,
        demand: &Demand<'_>,
        tracked: Option<u32>,
        now: Timestamp,
    ) {
        let alive = self.up_to;
        if self.down_to >= alive {
            return;
        }
        let started = memory.last_act(Some(Direction::Up)).map(|act| now.since(act.at));
        if let Some(blind) = demand.blind() {
            self.refuse_down(alive, HintOutcome::Pending(blind.to_string()));
        } else if let Some(want) = tracked
            && want > self.down_to
        {
            let why = format!("the metrics ask for {want}");
            self.refuse_down(alive, HintOutcome::Skipped(why));
        } else if let Some(since) = started.filter(|since| *since < policy.down.window) {
            let why = format!("the last start was only {} s ago", since.as_secs());
            self.refuse_down(alive, HintOutcome::Pending(why));
        }
    }

    fn refuse_down(&mut self, alive: u32, outcome: HintOutcome) {
        self.down_to = alive;
        for fate in self.fates.iter_mut().filter(|f| matches!(f, Fate::Down(_))) {
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
