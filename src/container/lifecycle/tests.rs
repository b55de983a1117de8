//! Transcripts: events in, actions out, on a clock of their own.

use super::*;

const TERM: i32 = 15;

struct Life {
    cycle: Lifecycle<i32>,
    now: Instant,
}

impl Life {
    fn new() -> Self {
        Self::with_stop_timeout(10)
    }

    fn with_stop_timeout(seconds: u64) -> Self {
        let limits = Limits { drain: Duration::from_secs(5), stop: Duration::from_secs(seconds) };
        let mut life = Self { cycle: Lifecycle::new(limits), now: Instant::now() };
        life.report("a", Standing::Absent);
        life
    }

    fn serving() -> Self {
        Self::new().served()
    }

    /// Serving, asked to stop, and stopped: no STOP_TIMEOUT, so the app may survive.
    fn stopped() -> Self {
        let mut life = Self::with_stop_timeout(0).served();
        life.on(stop(TERM));
        life.report("a", Standing::Idle);
        assert_eq!(life.report("a", Standing::Absent), [Action::Stop(TERM)]);
        life
    }

    fn served(mut self) -> Self {
        assert_eq!(self.on(Event::Ready), [want(Desired::Serving, 1)]);
        assert_eq!(self.report("a", Standing::Serving), []);
        self
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

fn stop(signal: i32) -> Event<i32> {
    Event::Stop(Stop { signal, survived_after: Duration::from_secs(10) })
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
    assert_eq!(life.on(stop(TERM)), [want(Desired::Draining, 2)]);
    assert_eq!(life.report("a", Standing::Draining { sessions: 3 }), []);
    assert_eq!(life.report("a", Standing::Idle), [want(Desired::Absent, 3)]);
    assert_eq!(life.report("a", Standing::Absent), [Action::Stop(TERM)]);
    assert_eq!(life.on(Event::AppEnded), [Action::Exit]);
}

#[test]
fn a_drain_ends_at_its_deadline_and_a_release_at_its_own() {
    let mut life = Life::serving();
    life.on(stop(TERM));
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
    life.on(stop(TERM));
    assert_eq!(life.on(report("a", 1, Standing::Absent)), []);
    assert_eq!(life.on(report("a", 2, Standing::Idle)), [want(Desired::Absent, 3)]);
    assert_eq!(life.on(report("a", 2, Standing::Absent)), []);
}

#[test]
fn one_that_cannot_be_reached_is_not_waited_for() {
    let mut life = Life::serving();
    life.report("b", Standing::Unreachable);
    life.on(stop(TERM));
    assert_eq!(life.report("a", Standing::Idle), [want(Desired::Absent, 3)]);
    assert_eq!(life.report("a", Standing::Unreachable), [Action::Stop(TERM)]);
}

#[test]
fn the_slowest_register_ends_the_drain() {
    let mut life = Life::serving();
    life.report("b", Standing::Serving);
    life.on(stop(TERM));
    assert_eq!(life.report("a", Standing::Idle), []);
    assert_eq!(life.report("b", Standing::Idle), [want(Desired::Absent, 3)]);
}

#[test]
fn a_second_stop_skips_the_drain() {
    let mut life = Life::serving();
    life.on(stop(TERM));
    assert_eq!(life.on(stop(2)), [want(Desired::Absent, 3), Action::Stop(2)]);
    assert_eq!(life.on(stop(TERM)), [Action::Stop(TERM)], "a third reaches the app too");
}

#[test]
fn an_app_that_is_not_ready_is_stopped_at_once() {
    assert_eq!(Life::new().on(stop(TERM)), [Action::Stop(TERM)]);
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
    assert_eq!(life.on(stop(TERM)), [], "it drains already");
    assert_eq!(life.report("a", Standing::Idle), [want(Desired::Absent, 5)]);
}

#[test]
fn an_app_that_survives_its_stop_signal_serves_again() {
    let mut life = Life::stopped();
    assert_eq!(life.after(9_999), []);
    assert_eq!(life.after(1), [Action::Look]);
    assert_eq!(life.on(Event::StillServes), [want(Desired::Serving, 4)]);
    life.report("a", Standing::Serving);

    assert_eq!(life.on(stop(TERM)), [want(Desired::Draining, 5)], "and is stopped as before");
    assert_eq!(life.after(5_000), [want(Desired::Absent, 6)]);
    assert_eq!(life.after(799), [], "the release has all of its time again");
    assert_eq!(life.after(1), [Action::Stop(TERM)]);
}

#[test]
fn one_that_ends_meanwhile_is_not_looked_for() {
    let mut life = Life::stopped();
    life.after(10_000);
    assert_eq!(life.on(Event::AppEnded), [Action::Exit]);
    assert_eq!(life.on(Event::StillServes), []);
}

#[test]
fn a_further_stop_signal_counts_anew() {
    let mut life = Life::stopped();
    life.after(9_000);
    assert_eq!(life.on(stop(2)), [Action::Stop(2)]);
    assert_eq!(life.after(9_999), []);
    assert_eq!(life.after(1), [Action::Look]);
    assert_eq!(life.on(stop(TERM)), [Action::LookAway, Action::Stop(TERM)]);
    assert_eq!(life.on(Event::StillServes), [], "what it saw is of before");
    assert_eq!(life.after(10_000), [Action::Look]);
    assert_eq!(life.on(Event::StillServes), [want(Desired::Serving, 4)]);
}

#[test]
fn an_app_that_says_it_is_not_ready_waits_until_it_is() {
    let mut life = Life::stopped();
    life.on(Event::Unready);
    assert_eq!(life.after(10_000), [Action::Look]);
    assert_eq!(life.on(Event::StillServes), []);
    assert_eq!(life.on(Event::Ready), [want(Desired::Serving, 4)]);
}

#[test]
fn an_app_that_survives_a_signal_before_it_is_ready_may_become_so() {
    let mut life = Life::with_stop_timeout(0);
    assert_eq!(life.on(stop(TERM)), [Action::Stop(TERM)]);
    assert_eq!(life.on(Event::Ready), [], "it may be on its way out");
    assert_eq!(life.after(10_000), [Action::Look]);
    assert_eq!(life.on(Event::StillServes), [want(Desired::Serving, 1)]);
}

#[test]
fn where_the_app_will_be_killed_there_is_no_way_back() {
    let mut life = Life::serving();
    life.on(stop(TERM));
    life.on(stop(TERM));
    assert_eq!(life.on(Event::StillServes), []);
    assert_eq!(life.after(10_000), [Action::Kill]);
    assert_eq!(life.after(60_000), []);
    assert_eq!(life.on(Event::StillServes), []);
}

/// What the loop around it reads between two events.
#[test]
fn each_state_says_when_it_is_due_and_what_the_app_is_owed() {
    let mut life = Life::serving();
    let due = |life: &Life| life.cycle.deadline().map(|at| at - life.now);
    assert_eq!((due(&life), life.cycle.stop_owed(), life.cycle.is_stopping()), (None, None, false));
    life.on(stop(TERM));
    let drain = Duration::from_secs(5);
    assert_eq!(due(&life), Some(drain));
    assert_eq!((life.cycle.stop_owed(), life.cycle.is_stopping()), (Some(TERM), false));
    life.report("a", Standing::Idle);
    assert_eq!(due(&life), Some(RELEASE_TIMEOUT));
    assert_eq!((life.cycle.stop_owed(), life.cycle.is_stopping()), (Some(TERM), false));
    life.report("a", Standing::Absent);
    assert_eq!(due(&life), Some(Duration::from_secs(10)), "STOP_TIMEOUT");
    assert_eq!((life.cycle.stop_owed(), life.cycle.is_stopping()), (None, true));
    assert_eq!(life.on(Event::AppEnded), [Action::Exit]);
    assert_eq!(due(&life), None);
    for late in [Event::AppEnded, Event::Ready, stop(TERM), Event::Tick] {
        assert_eq!(life.on(late), [], "it has left");
    }
    let mut survivor = Life::stopped();
    assert_eq!(due(&survivor), Some(Duration::from_secs(10)), "it is looked at then");
    assert!(survivor.cycle.is_stopping());
    survivor.after(10_000);
    assert_eq!(due(&survivor), None);
}

#[test]
fn it_holds_nothing_when_every_register_says_so_of_the_present_wish() {
    let mut life = Life::new();
    assert!(life.cycle.holds_nothing());
    life.report("b", Standing::Serving);
    assert!(!life.cycle.holds_nothing());
    life.report("b", Standing::Absent);
    assert!(life.cycle.holds_nothing());
    life.on(Event::Ready);
    assert!(!life.cycle.holds_nothing(), "what they said was of another wish");
}

/// A second end of the app, as after a restart of the loop, begins no second release.
#[test]
fn an_app_that_has_ended_ends_once() {
    let mut life = Life::serving();
    assert_eq!(life.on(Event::AppEnded), [want(Desired::Absent, 2)]);
    life.now += Duration::from_millis(100);
    let until = life.cycle.deadline();
    assert_eq!(life.on(Event::AppEnded), []);
    assert_eq!(life.cycle.deadline(), until);
}
