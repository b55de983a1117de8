//! Plays a load through a scaling law and counts what it costs: the very [`crate::decide`] that
//! runs in production, and models of its peers.
//!
//! The service is a fluid queue: each second `rate` requests come in, every running replica serves
//! up to `capacity` of them, and the rest waits. A replica serves `start` after it is ordered; one
//! that is let go costs until `drain` later.

pub mod bench;
pub mod frontier;
pub mod law;
pub mod load;
pub mod ours;
pub mod plot;
pub mod report;
pub mod sight;

use crate::timestamp::Timestamp;
use law::{Law, Seen};
use load::Load;
use sight::{Readings, Sight};
use std::collections::VecDeque;

/// The service that is played.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Requests per second that one replica serves at most.
    pub capacity: f64,
    /// Requests per second that one replica is meant to carry.
    pub target: f64,
    /// Seconds from the order of a replica to its first answer.
    pub start: u32,
    /// Seconds from the end of a replica's duty to its end.
    pub drain: u32,
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// How well the laws see.
    pub sight: Sight,
}

/// What a law did with a load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Seconds at whose end requests were waiting.
    pub slow_secs: u64,
    /// Seconds of all replicas, starting and draining ones included.
    pub instance_secs: u64,
    /// Changes of direction less than ten minutes after the last change.
    pub reversals: u64,
    /// Changes of the number of replicas.
    pub acts: u64,
    /// Seconds from the beginning of a slow spell until enough replicas were ordered, on average.
    pub react_secs: f64,
    /// The longest slow spell, in seconds.
    pub longest_spell_secs: u64,
    /// The most replicas at once.
    pub peak: u32,
    /// Requests that came in.
    pub requests: f64,
    /// The time that they waited, all together, in seconds: behind others by the queueing formula for
    /// replicas that serve one request at a time, and behind what could not be served at once.
    pub waited_secs: f64,
}

impl Outcome {
    /// How long a request waited on average, in seconds.
    pub fn mean_wait_secs(&self) -> f64 {
        self.waited_secs / self.requests.max(1.0)
    }
}

/// One second of a played load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Requests that came in.
    pub rate: f64,
    /// Requests that the running replicas could serve.
    pub capacity: f64,
    /// Requests that wait at its end.
    pub queue: f64,
    /// Replicas that serve.
    pub running: u32,
}

/// Slow seconds less than this apart are one spell.
const SPELL_GAP: u64 = 30;
/// A change of direction this soon after the last change is a reversal.
const REVERSAL_SECS: u64 = 600;

/// Plays the whole load, one second after another, beginning with what its first second needs. What
/// happens before the second `from` is not counted.
pub fn play(setup: &Setup, load: &Load, law: &mut dyn Law, from: u64) -> Outcome {
    watch(setup, load, law, from, |_| ())
}

/// The same, and shows every second that counts.
pub fn watch(
    setup: &Setup,
    load: &Load,
    law: &mut dyn Law,
    from: u64,
    mut show: impl FnMut(Moment),
) -> Outcome {
    let mut service = Service::new(setup, load.rate(0));
    let mut tally = Tally { counts_from: from, ..Tally::default() };
    let interval = u64::from(law.interval().max(1));
    let mut readings = Readings::new(&setup.sight);
    let (mut sum, mut queue) = (0.0, 0.0f64);
    for second in 0..load.secs() {
        service.advance(second);
        let rate = load.rate(second);
        let capacity = f64::from(service.running) * setup.capacity;
        sum += if setup.sight.served { (queue + rate).min(capacity) } else { rate };
        queue = (queue + rate - capacity).max(0.0);
        if (second + 1) % interval == 0 {
            let seen = Seen {
                now: Timestamp::from_secs(load.begins + second as i64 + 1),
                rate: readings.show(second, sum / interval as f64),
                queue,
                running: service.running,
                starting: service.starting(),
                draining: service.draining.len() as u32,
            };
            sum = 0.0;
            let (from, to) = (service.alive(), law.decide(setup, &seen).min(setup.max));
            service.order(setup, second, to);
            tally.change(second, from, to);
        }
        let ordered = f64::from(service.alive()) * setup.capacity;
        let moment = Moment { rate, capacity, queue, running: service.running };
        if second >= from {
            tally.second(second, &moment, ordered >= rate, &service);
            show(moment);
        }
    }
    tally.finish()
}

/// The replicas, by the second in which their next change is due.
struct Service {
    running: u32,
    starts: VecDeque<(u64, u32)>,
    draining: VecDeque<u64>,
}

impl Service {
    fn new(setup: &Setup, rate: f64) -> Self {
        let need = (rate / setup.target).ceil() as u32;
        let running = need.clamp(setup.min.min(setup.max), setup.max);
        Self { running, starts: VecDeque::new(), draining: VecDeque::new() }
    }

    fn starting(&self) -> u32 {
        self.starts.iter().map(|(_, n)| n).sum()
    }

    fn alive(&self) -> u32 {
        self.running + self.starting()
    }

    fn advance(&mut self, second: u64) {
        while self.starts.front().is_some_and(|(due, _)| *due <= second) {
            self.running += self.starts.pop_front().map_or(0, |(_, n)| n);
        }
        while self.draining.front().is_some_and(|due| *due <= second) {
            self.draining.pop_front();
        }
    }

    fn order(&mut self, setup: &Setup, second: u64, to: u32) {
        let alive = self.alive();
        let more = to.saturating_sub(alive);
        let mut less = alive.saturating_sub(to);
        if more > 0 {
            self.starts.push_back((second + 1 + u64::from(setup.start), more));
        }
        // The newest go first: those that never served need no drain.
        while let Some((_, n)) = self.starts.back_mut().filter(|_| less > 0) {
            let gone = less.min(*n);
            *n -= gone;
            less -= gone;
            if *n == 0 {
                self.starts.pop_back();
            }
        }
        self.running -= less;
        let due = second + 1 + u64::from(setup.drain);
        self.draining.extend((0..less).map(|_| due));
    }
}

/// How long a request of this second waits, in seconds: what waits already, and below that the mean
/// of a queue of random arrivals before several servers (Sakasegawa's approximation of M/M/c), which
/// rises without bound as the replicas fill up; a second is as long as it is let grow within one.
fn wait(moment: &Moment) -> f64 {
    let Moment { rate, capacity, queue, running } = *moment;
    if capacity <= 0.0 {
        return if rate > 0.0 { 1.0 } else { 0.0 };
    }
    let (load, servers) = (rate / capacity, f64::from(running));
    let full = queue / capacity;
    if load >= 1.0 {
        return full.max(1.0);
    }
    let random = load.powf((2.0 * (servers + 1.0)).sqrt() - 1.0) / (capacity * (1.0 - load));
    random.min(1.0) + full
}

#[derive(Default)]
struct Tally {
    outcome: Outcome,
    counts_from: u64,
    last_change: Option<(u64, bool)>,
    spell: Option<Spell>,
    spells: u64,
    reacting: u64,
}

struct Spell {
    since: u64,
    last: u64,
    answered: bool,
}

impl Tally {
    fn change(&mut self, second: u64, from: u32, to: u32) {
        if from == to {
            return;
        }
        let up = to > from;
        if let Some((at, was_up)) = self.last_change
            && was_up != up
            && second - at < REVERSAL_SECS
            && second >= self.counts_from
        {
            self.outcome.reversals += 1;
        }
        self.last_change = Some((second, up));
        self.outcome.acts += u64::from(second >= self.counts_from);
    }

    fn second(&mut self, second: u64, moment: &Moment, ordered: bool, service: &Service) {
        let slow = moment.queue > 1e-9;
        self.outcome.requests += moment.rate;
        self.outcome.waited_secs += moment.rate * wait(moment);
        let count = service.alive() + service.draining.len() as u32;
        self.outcome.instance_secs += u64::from(count);
        self.outcome.peak = self.outcome.peak.max(count);
        if self.spell.as_ref().is_some_and(|s| second - s.last > SPELL_GAP) {
            self.end_spell();
        }
        if slow {
            self.outcome.slow_secs += 1;
            let new = Spell { since: second, last: second, answered: false };
            self.spell.get_or_insert(new).last = second;
        }
        if let Some(spell) = &mut self.spell
            && !spell.answered
        {
            spell.answered = ordered;
            self.reacting += u64::from(!ordered);
        }
    }

    fn end_spell(&mut self) {
        if let Some(spell) = self.spell.take() {
            self.spells += 1;
            let length = spell.last - spell.since + 1;
            self.outcome.longest_spell_secs = self.outcome.longest_spell_secs.max(length);
        }
    }

    fn finish(mut self) -> Outcome {
        self.end_spell();
        self.outcome.react_secs = self.reacting as f64 / self.spells.max(1) as f64;
        self.outcome
    }
}

#[cfg(test)]
mod tests;
