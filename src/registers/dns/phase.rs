//! What one container does next in DNS. Pure: what the server shows goes in, one step comes out.
//!
//! Nothing is remembered that the server can be asked for. What may have been put into DNS is part of
//! the phase before it is sent, so that a step whose answer is lost is one that the next look explains.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::claim::Claim;
use super::client::Outcome;
use super::lease;
use super::settings::DnsConfig;
use super::wire::name::{self, DnsName};
use super::wire::update::{Change, Data, Rr, Update};
use crate::registers::{Desired, Standing};

mod held;
mod seen;
#[cfg(test)]
mod tests;

use held::{AGAIN, Held};
pub(super) use seen::{Ask, Node, Seen, View};

/// Nothing is looked at while nothing may be held.
const IDLE: Duration = Duration::from_secs(3600);
/// Between two looks while the address of this container is not known.
const NAMELESS: Duration = Duration::from_secs(1);
/// Steps in a row for what goes with the address, until the next look at everything.
const EXTRAS: u32 = 4;
/// Updates in a row after which the server still does not show what they asked for: where it took
/// them, and where it found that a condition does not hold, which neighbours can cause too.
const IGNORED_AFTER: u32 = 3;
const CONTESTED_AFTER: u32 = 6;

/// Where one container stands in DNS.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Phase {
    /// Not known: somebody at this address and port may have died and left records.
    #[default]
    Unknown,
    /// Nothing of this container is in DNS, by the server's word.
    Out,
    /// Its records are in DNS, or may be.
    In(Held),
    /// They have to go; `taken` when the server has taken the last update that asked for it, `moved`
    /// when this container has another address now, and somebody else may have the former one.
    Leaving { held: Held, taken: bool, moved: bool },
    /// They are gone; its PTR records, in another zone, may still be there.
    Tidying { reverse: DnsName, targets: Vec<DnsName> },
}

/// When something is decided, and chance: a number for a lease, and one from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) nonce: u64,
    pub(super) luck: f64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, for so long.
    Rest(Duration),
    /// Send this, without which the container is not in DNS, or not out of it.
    Update(Update),
    /// Send this, without which it serves all the same.
    Extra(Update),
    /// Change the PTR records at this name, without which it serves all the same.
    Reverse(DnsName, Vec<Change>),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    In(Claim),
    Left(Claim),
    NodeHeld(DnsName),
    NodeTaken {
        name: DnsName,
        holder: Option<IpAddr>,
    },
    /// What was put at this name does not show, though the server has taken it.
    NotShown(DnsName),
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Next {
    pub(super) phase: Phase,
    pub(super) step: Step,
    /// Where this leaves the container; nothing while it is on its way.
    pub(super) standing: Option<Standing>,
    pub(super) news: Vec<News>,
}

impl Phase {
    pub(super) fn ask(&self, wish: Desired) -> Ask<'_> {
        match (self, wish) {
            (Self::Leaving { held, .. }, _) => Ask::Lease(&held.claim),
            (Self::Tidying { .. }, _) => Ask::Nothing,
            (_, Desired::Serving) => Ask::All,
            (Self::In(held), _) => Ask::Lease(&held.claim),
            (Self::Unknown, _) => Ask::Me,
            (Self::Out, _) => Ask::Nothing,
        }
    }

    /// Whether PTR records of it may be there.
    pub(super) fn has_ptrs(&self) -> bool {
        matches!(self, Self::In(held) if !held.ptrs.is_empty())
    }

    /// Takes note of the answer to the step that was sent; `None` when that was refused or lost.
    pub(super) fn answered(&mut self, outcome: Option<Outcome>) {
        match self {
            Self::In(held) => {
                if let (Some((done, conflict)), Some(outcome)) = (held.after.take(), outcome) {
                    held.claim = if outcome == Outcome::Done { done } else { conflict };
                }
            }
            Self::Leaving { taken, .. } => *taken = outcome == Some(Outcome::Done),
            // Nobody waits for PTR records: they are not asked for a second time.
            Self::Tidying { .. } => *self = Self::Out,
            Self::Unknown | Self::Out => {}
        }
    }

    /// Whether the server has been asked so often for what it does not show that something must be
    /// wrong; the name that it is about.
    pub(super) fn in_vain(&self, outcome: Outcome) -> Option<DnsName> {
        let (Self::In(held) | Self::Leaving { held, .. }) = self else { return None };
        let claim = &held.claim;
        match outcome {
            Outcome::Done => (held.vain >= IGNORED_AFTER).then(|| held.missing.clone()),
            Outcome::Conflict => (held.vain >= CONTESTED_AFTER)
                .then(|| claim.lease_name().unwrap_or_else(|| claim.shared.clone())),
        }
    }

    /// How long to rest after a step for what goes with the address has failed.
    pub(super) fn rest(&self, rules: &DnsConfig, at: Moment) -> Duration {
        match self {
            Self::In(held) => held.rest(rules, at),
            _ => AGAIN,
        }
    }
}

/// Decides.
pub(super) fn next(
    phase: Phase,
    seen: &Seen,
    wish: Desired,
    rules: &DnsConfig,
    at: Moment,
) -> Next {
    match (phase, seen) {
        (Phase::Leaving { held, taken, moved }, Seen::Lease(texts)) => {
            leave(held, taken, moved, texts)
        }
        (Phase::In(held), Seen::Lease(texts)) => {
            leave(Held { vain: 0, ..held }, false, false, texts)
        }
        (Phase::Tidying { reverse, targets }, _) => {
            let changes = targets.iter().map(|target| delete_ptr(&reverse, target)).collect();
            let step = Step::Reverse(reverse.clone(), changes);
            on_the_way(Phase::Tidying { reverse, targets }, step)
        }
        (Phase::Unknown, Seen::Me(me, texts)) => {
            let leftover = texts.iter().any(|text| me.is_mine(text));
            let may_hold = me.holds.is_none() && wish == Desired::Draining;
            match leftover || may_hold {
                true => leave(Held::new(me.clone()), false, false, texts),
                false => rest(Phase::Out, IDLE, wish),
            }
        }
        (Phase::In(held), Seen::All(view)) if held.claim.addr != view.me.addr => {
            let held = Held { vain: 0, ..held };
            let phase = Phase::Leaving { held, taken: false, moved: true };
            on_the_way(phase, Step::Rest(Duration::ZERO))
        }
        (Phase::In(mut held), Seen::All(view)) => {
            // What came of the last update shows now, or never.
            held.after = None;
            let former = held.claim.clone();
            serve(held, Some(&former), view, rules, at)
        }
        (Phase::Unknown | Phase::Out, Seen::All(view)) => {
            serve(Held::new(view.me.clone()), None, view, rules, at)
        }
        (Phase::Out, Seen::Nothing) => rest(Phase::Out, IDLE, wish),
        (phase, _) => rest(phase, NAMELESS, wish),
    }
}

fn rest(phase: Phase, wait: Duration, wish: Desired) -> Next {
    let standing = match wish {
        Desired::Draining => Standing::Idle,
        Desired::Serving | Desired::Absent => Standing::Absent,
    };
    Next { phase, step: Step::Rest(wait), standing: Some(standing), news: Vec::new() }
}

fn on_the_way(phase: Phase, step: Step) -> Next {
    Next { phase, step, standing: None, news: Vec::new() }
}

/// Takes everything out, until the server has said that it did and shows no lease of ours: an update
/// of ours that was cut short may have overtaken the one that takes out.
fn leave(mut held: Held, taken: bool, moved: bool, texts: &[Vec<u8>]) -> Next {
    held.missing = held.claim.lease_name().unwrap_or_else(|| held.claim.shared.clone());
    let (mine, others): (Vec<_>, Vec<_>) = texts.iter().partition(|text| held.claim.is_mine(text));
    held.note_ptrs(held.claim.ptr.clone().into_iter().chain(lease::ptrs(mine.iter().copied())));
    // Whoever has the former address now, and the same port, has taken over what was there.
    let taken_over = moved && mine.iter().any(|text| !held.has_written(text));
    if !taken_over && (!taken || !mine.is_empty()) {
        held.vain += 1;
        let update = held.claim.leave(texts);
        return on_the_way(Phase::Leaving { held, taken: false, moved }, Step::Update(update));
    }
    let kept: Vec<_> = lease::ptrs(others.into_iter()).collect();
    let targets: Vec<_> = held.ptrs.into_iter().filter(|target| !kept.contains(target)).collect();
    let phase = match name::reverse(held.claim.addr).filter(|_| !targets.is_empty()) {
        Some(reverse) => Phase::Tidying { reverse, targets },
        None => Phase::Out,
    };
    let news = vec![News::Left(held.claim)];
    Next { news, ..on_the_way(phase, Step::Rest(Duration::ZERO)) }
}

/// Puts in what is missing, the address and its lease first.
fn serve(
    mut held: Held,
    former: Option<&Claim>,
    view: &View,
    rules: &DnsConfig,
    at: Moment,
) -> Next {
    let mut claim = Claim { srv: view.me.srv.clone(), ..held.claim.clone() };
    claim.node = match &view.node {
        Node::Mine { name, .. } => Some(name.clone()),
        Node::Unknown => claim.node,
        Node::None | Node::Free(_) | Node::Taken { .. } => None,
    };
    claim.ptr = ptr_target(&claim, rules);
    held.note_ptrs(lease::ptrs(view.texts.iter().filter(|text| claim.is_mine(text))));
    held.note_renewal(&view.texts);
    let as_before = former.is_none_or(|former| former.node == claim.node);
    let listed = if claim.holds.is_some() { claim.is_leased_by(&view.texts) } else { as_before };
    let there = view.shared.contains(&claim.addr);
    let whole = there && listed && !matches!(view.node, Node::Mine { whole: false, .. });
    if whole && held.renewal_in(rules, at.now).is_none_or(|due| !due.is_zero()) {
        held.claim = claim;
        held.vain = 0;
        return complete(held, view, rules, at);
    }
    let update = claim.assert(former, &view.texts, at.nonce);
    held.sent = Some((claim.lease(at.nonce).text(), at.now));
    held.vain += 1;
    held.missing = missing(&claim, there, listed);
    held.after = Some((claim, held.claim.clone()));
    on_the_way(Phase::In(held), Step::Update(update))
}

/// The name at which something is not as it should be.
fn missing(claim: &Claim, there: bool, listed: bool) -> DnsName {
    let lease = claim.lease_name().filter(|_| !listed);
    let srv = claim.srv.as_ref().map(|(owner, _)| owner.clone());
    let other = lease.or(srv).or_else(|| claim.node.clone());
    other.filter(|_| there).unwrap_or_else(|| claim.shared.clone())
}

/// The address is in DNS; what goes with it comes now, one thing after the other.
fn complete(mut held: Held, view: &View, rules: &DnsConfig, at: Moment) -> Next {
    let mut news = vec![News::In(held.claim.clone())];
    let step = match &view.node {
        Node::Free(name) if held.extras >= EXTRAS => {
            // It has no address and no text, and is in use all the same.
            news.push(News::NodeTaken { name: name.clone(), holder: None });
            None
        }
        Node::Free(name) => Some(claim_node(&mut held, name, view, rules, at)),
        Node::Mine { name, .. } => {
            news.push(News::NodeHeld(name.clone()));
            None
        }
        Node::Taken { name, holder } => {
            news.push(News::NodeTaken { name: name.clone(), holder: *holder });
            None
        }
        Node::None | Node::Unknown => None,
    };
    let step = step.or_else(|| {
        let (reverse, changes) = ptr_changes(&mut held, view)?;
        let again = held.extras < EXTRAS;
        if !again {
            news.push(News::NotShown(reverse.clone()));
        }
        again.then_some(Step::Reverse(reverse, changes))
    });
    let step = match step {
        Some(step) => {
            held.extras += 1;
            step
        }
        None => {
            // What was asked for in vain gets one try at each look from now on.
            held.extras = if held.extras >= EXTRAS { EXTRAS - 1 } else { 0 };
            Step::Rest(held.rest(rules, at))
        }
    };
    Next { phase: Phase::In(held), step, standing: Some(Standing::Serving), news }
}

fn claim_node(held: &mut Held, name: &DnsName, view: &View, rules: &DnsConfig, at: Moment) -> Step {
    let before = held.claim.clone();
    held.claim.node = Some(name.clone());
    held.claim.ptr = ptr_target(&held.claim, rules);
    held.sent = Some((held.claim.lease(at.nonce).text(), at.now));
    // Whoever was faster shows in the next look. It may have been ourselves, when an answer was lost.
    held.after = Some((held.claim.clone(), before));
    Step::Extra(held.claim.assert_exclusively(&view.texts, at.nonce))
}

fn ptr_target(claim: &Claim, rules: &DnsConfig) -> Option<DnsName> {
    match (rules.ptr, &rules.node) {
        (false, _) => None,
        (true, None) => Some(claim.shared.clone()),
        (true, Some(_)) => claim.node.clone(),
    }
}

/// What has to change at the address's name in the reverse zone.
fn ptr_changes(held: &mut Held, view: &View) -> Option<(DnsName, Vec<Change>)> {
    let present = view.ptrs.as_ref()?;
    let reverse = name::reverse(held.claim.addr)?;
    let wanted = held.claim.ptr.clone();
    held.ptrs.retain(|target| present.contains(target) && Some(target) != wanted.as_ref());
    let mut changes: Vec<_> = held.ptrs.iter().map(|target| delete_ptr(&reverse, target)).collect();
    if let Some(target) = wanted.clone().filter(|target| !present.contains(target)) {
        changes.push(Change::Add(Rr::new(&reverse, Data::Ptr(target))));
    }
    held.note_ptrs(wanted.into_iter());
    (!changes.is_empty()).then_some((reverse, changes))
}

pub(super) fn delete_ptr(reverse: &DnsName, target: &DnsName) -> Change {
    Change::Delete(Rr::new(reverse, Data::Ptr(target.clone())))
}
