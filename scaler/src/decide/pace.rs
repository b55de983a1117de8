//! How fast a wish may be followed: windows, limits, cool-downs, pause and dry run.

use super::Limited;
use crate::history::{Act, History};
use crate::policy::{Direction, Limit, Policy};
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Holds a wish back, step by step, and notes what did it.
pub(super) struct Pace<'a> {
    pub(super) policy: &'a Policy,
    pub(super) memory: &'a History,
    pub(super) alive: u32,
    pub(super) now: Timestamp,
    /// For how long what is spare has idled, where it must.
    pub(super) idled: Option<Duration>,
    pub(super) limited_by: Vec<Limited>,
}

impl Pace<'_> {
    /// Up to what the whole window asked for.
    pub(super) fn up_window(&mut self, want: u32) -> u32 {
        if want <= self.alive {
            return self.alive;
        }
        let holds = self.memory.dip().unwrap_or(want);
        if holds < want {
            let secs = self.policy.up.window.as_secs();
            self.limited_by.push(Limited::Window { direction: Direction::Up, holds, secs });
        }
        want.min(holds).max(self.alive)
    }

    /// Down to the most that the window asked for, once what is spare has idled long enough.
    pub(super) fn down_window(&mut self, want: u32) -> u32 {
        let holds = self.memory.peak().unwrap_or(self.alive).max(want).min(self.alive);
        if holds > want {
            let secs = self.policy.down.window.as_secs();
            self.limited_by.push(Limited::Window { direction: Direction::Down, holds, secs });
        }
        let least = 1.0 - self.policy.down.tolerance.unwrap_or(0.0);
        if f64::from(holds) > f64::from(self.alive) * least + 1e-9 {
            return self.alive;
        }
        let Some(idled) = self.idled.filter(|idled| *idled < self.policy.down.idle) else {
            return holds;
        };
        if holds < self.alive {
            let of_secs = self.policy.down.idle.as_secs();
            let spare = self.alive - holds;
            self.limited_by.push(Limited::Idle { spare, secs: idled.as_secs(), of_secs });
        }
        self.alive
    }

    /// All that is lost at once, but not again before what was just started can have come up: a
    /// container that dies at its start must not spin.
    pub(super) fn restore(&mut self, lost: u32) -> u32 {
        if lost == 0 {
            return self.alive;
        }
        let last = self.memory.last_act(Some(Direction::Up));
        match last.and_then(|act| self.left(act, self.policy.start_time, Direction::Up)) {
            Some(cooldown) => {
                self.limited_by.push(cooldown);
                self.alive
            }
            None => self.alive.saturating_add(lost),
        }
    }

    /// Between here and `to`: as far as `autoscale_action`, cool-down and limit allow.
    pub(super) fn limit(&mut self, direction: Direction, to: u32) -> u32 {
        if to == self.alive {
            return to;
        }
        if !self.policy.actions.allows(direction) {
            self.limited_by.push(Limited::NotAllowed { direction });
            return self.alive;
        }
        let rules = self.policy.rules(direction);
        // After an act up, going down waits as well.
        let since = if direction == Direction::Up { Some(Direction::Up) } else { None };
        let last = self.memory.last_act(since);
        if let Some(cooldown) = last.and_then(|act| self.left(act, rules.cooldown, direction)) {
            self.limited_by.push(cooldown);
            return self.alive;
        }
        let Some(limit) = rules.limit else { return to };
        let reach = self.reach(direction, &limit);
        let limited = match direction {
            Direction::Up => to.min(reach.max(self.alive)),
            Direction::Down => to.max(reach.min(self.alive)),
        };
        if limited != to {
            let secs = limit.period.as_secs();
            self.limited_by.push(Limited::Rate { direction, to: limited, secs });
        }
        limited
    }

    /// The furthest count that the limit allows, counted from the start of the period.
    fn reach(&self, direction: Direction, limit: &Limit) -> u32 {
        let begin = self.now - limit.period;
        let recent = self.memory.acts.iter().filter(|a| a.at > begin);
        let moved: i64 = recent.map(|a| i64::from(a.to) - i64::from(a.from)).sum();
        let start = (i64::from(self.alive) - moved).max(0) as f64;
        let step = f64::from(limit.count).max(start * limit.percent / 100.0);
        match direction {
            Direction::Up => (start + step).ceil() as u32,
            Direction::Down => (start - step).max(0.0).floor() as u32,
        }
    }

    /// What is left of a waiting time that began with `act`.
    fn left(&self, act: &Act, wait: Duration, direction: Direction) -> Option<Limited> {
        let left = wait.checked_sub(self.now.since(act.at)).filter(|left| !left.is_zero())?;
        let left_secs = left.as_millis().div_ceil(1000) as u64;
        Some(Limited::Cooldown { direction, left_secs })
    }

    /// Nothing at all in a paused direction or on a dry run.
    pub(super) fn stand_still(&mut self, to: u32) -> u32 {
        let direction = if to > self.alive { Direction::Up } else { Direction::Down };
        if to == self.alive {
            return to;
        }
        if self.policy.pause.covers(direction) {
            self.limited_by.push(Limited::Paused { direction });
            return self.alive;
        }
        if self.policy.dry_run {
            self.limited_by.push(Limited::DryRun);
            return self.alive;
        }
        to
    }
}
