//! `[[policy]]` tables.

use super::Sources;
use super::reader::{Fields, Value};
use crate::policy::{
    Action, Actions, Law, Limit, Metric, Pause, Policy, Query, Rules, Step, Target, UTILISATION,
    ValueOf, VictimOrder, check_container_name, check_policy_name,
};
use crate::schedule::{Schedule, ScheduleError};
use crate::sources::KINDS;
use std::time::Duration;

const PAUSES: [(&str, Pause); 4] =
    [("none", Pause::None), ("up", Pause::Up), ("down", Pause::Down), ("both", Pause::Both)];
const ORDERS: [(&str, VictimOrder); 5] = [
    ("unhealthy", VictimOrder::Unhealthy),
    ("clones", VictimOrder::Clones),
    ("least_sessions", VictimOrder::LeastSessions),
    ("newest", VictimOrder::Newest),
    ("oldest", VictimOrder::Oldest),
];

/// Every `[[policy]]` of a table.
pub(super) fn policies(root: &Fields<'_>, sources: &Sources) -> Vec<Policy> {
    let mut read: Vec<Policy> = Vec::new();
    for fields in root.tables("policy", "policy_name") {
        let Some(policy) = policy(&fields, sources) else {
            fields.finish();
            continue;
        };
        if read.iter().any(|p| p.name == policy.name) {
            fields.error("policy_name", format!("{:?} is there twice", policy.name));
        }
        if let Some(other) = read.iter().find(|p| p.service == policy.service) {
            fields.error(
                "service_name",
                format!(
                    "{:?} is already scaled by the policy {:?}: give that one several metrics",
                    policy.service, other.name
                ),
            );
        }
        fields.finish();
        read.push(policy);
    }
    read
}

fn policy(f: &Fields<'_>, sources: &Sources) -> Option<Policy> {
    const MIN: [&str; 2] = ["autoscale_min_instance", "autoscale_min_instances"];
    const MAX: [&str; 2] = ["autoscale_max_instance", "autoscale_max_instances"];
    const NAME: [&str; 2] = ["policy_name", "container_policy_name"];
    f.expect(&NAME, "a name of its own");
    f.expect(&["service_name", "alert_service_name"], "the service to scale");
    f.expect(&MAX, "a whole number");
    let name = f.alias(NAME, |v| {
        let name = v.name()?;
        check_policy_name(&name).map(|()| name)
    });
    let alert_service = f.opt("alert_service_name", Value::name);
    let service = f.opt("service_name", Value::name).or_else(|| alert_service.clone());
    let (min, max) = (f.alias(MIN, Value::replicas), f.alias(MAX, Value::replicas));
    let (min, max_or_min) = (min.unwrap_or(1), max.unwrap_or(u32::MAX));
    if min > max_or_min {
        f.error(
            "autoscale_min_instance",
            format!("{min} is above autoscale_max_instance {max_or_min}"),
        );
    }

    let mut p = Policy::new(
        name.as_deref().unwrap_or_default(),
        service.as_deref().unwrap_or_default(),
        min,
        max_or_min,
    );
    p.alert_service = alert_service.unwrap_or_else(|| p.service.clone());
    p.naming_convention =
        f.alias(["naming_convention", "container_naming_convention"], Value::container_name);
    if p.naming_convention.is_none()
        && !f.has("naming_convention")
        && let Some(Err(why)) = service.as_deref().map(check_container_name)
    {
        f.error("service_name", format!("{why}; or give a naming_convention"));
    }
    p.template = f.opt("template", Value::container_name);
    let hosts = f
        .opt("hosts", |v| some("the name of a Docker host", v.list(|h| sources.host(&h.text()?))?));
    set(&mut p.hosts, hosts);
    set(&mut p.clone_privileged, f.opt("clone_privileged", Value::boolean));
    if let Some(list) = f.opt("autoscale_action", |v| {
        some("an action; pause = \"both\" is for doing nothing", v.list(|a| a.text()?.parse())?)
    }) {
        let service_scope = |a: &Action| matches!(a, Action::ScaleUpService);
        if p.naming_convention.is_none() && list.iter().any(service_scope) {
            f.error("naming_convention", "is missing: scale_up_service names new containers by it");
        }
        p.actions = Actions { list };
    }
    set(&mut p.start_time, f.opt("start_time", Value::duration));
    set(&mut p.alert_step, f.opt("alert_step", at_least_one));
    set(&mut p.pause, f.opt("pause", |v| v.one_of(&PAUSES)));
    set(&mut p.dry_run, f.opt("dry_run", Value::boolean));
    set(&mut p.victim, f.opt("victim", |v| v.list(|o| o.one_of(&ORDERS))));
    set(&mut p.drain_grace, f.opt("drain_grace", Value::duration));
    p.headroom = f.opt("headroom", Value::number);
    if let Some(up) = f.table("up") {
        rules(up, &mut p.up);
    }
    if let Some(down) = f.table("down") {
        set(&mut p.down.idle, down.opt("idle", Value::duration));
        rules(down, &mut p.down);
        if p.down.tolerance.is_some_and(|share| share >= 1.0) {
            f.error("down", "a tolerance of 1 or more would never scale in");
        }
    }
    for m in f.tables("metric", "name") {
        let metric = metric(&m, sources, &p);
        if let Some(metric) = &metric
            && p.metrics.iter().any(|other| other.name == metric.name)
        {
            m.error("name", format!("{:?} is there twice", metric.name));
        }
        m.finish();
        p.metrics.extend(metric);
    }
    for s in f.tables("schedule", "name") {
        p.schedules.extend(schedule(&s, max_or_min));
        s.finish();
    }
    (name.is_some() && service.is_some() && max.is_some()).then_some(p)
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// A list that is not empty, since nobody can mean that.
fn some<T>(expected: &str, list: Vec<T>) -> Result<Vec<T>, String> {
    match list.is_empty() {
        true => Err(format!("is empty: expected {expected}")),
        false => Ok(list),
    }
}

fn at_least_one(v: Value<'_>) -> Result<u32, String> {
    match v.count()? {
        0 => Err("expected a whole number from 1 on, not 0".to_owned()),
        n => Ok(n),
    }
}

fn rules(f: Fields<'_>, rules: &mut Rules) {
    rules.tolerance = f.opt("tolerance", Value::number);
    set(&mut rules.window, f.opt("window", Value::duration));
    set(&mut rules.cooldown, f.opt("cooldown", Value::duration));
    let count = f.opt("limit_count", at_least_one);
    let percent = f.opt("limit_percent", Value::positive);
    let period = f.opt("limit_period", Value::period);
    match (count, percent, period) {
        (None, None, None) => {}
        (None, None, Some(period)) => match &mut rules.limit {
            Some(limit) => limit.period = period,
            None => f.error("limit_period", "needs limit_count or limit_percent"),
        },
        (count, percent, period) => {
            let period = period.or(rules.limit.map(|l| l.period));
            let Some(period) = period else {
                f.error("limit_period", "is missing: expected a duration such as \"30s\"");
                return f.finish();
            };
            let count = count.unwrap_or(1);
            rules.limit = Some(Limit { count, percent: percent.unwrap_or(0.0), period });
        }
    }
    if let Some(true) = f.opt("unlimited", Value::boolean) {
        if f.has("limit_count") || f.has("limit_percent") {
            f.error("unlimited", "contradicts the limit next to it");
        }
        rules.limit = None;
    }
    f.finish();
}

fn metric(f: &Fields<'_>, sources: &Sources, policy: &Policy) -> Option<Metric> {
    let name = f.req("name", "a name, unique in the policy", Value::name);
    let stale_after = f.opt("stale_after", Value::period).unwrap_or(Duration::from_secs(60));
    let query = query(f, sources);
    let law = law(f, policy);
    Some(Metric { name: name?, query: query?, law: law?, stale_after })
}

fn law(f: &Fields<'_>, policy: &Policy) -> Option<Law> {
    match (f.has("target"), f.has("backlog_rate"), f.has("step")) {
        (true, false, false) => target(f, policy).map(Law::Target),
        (false, true, false) => Some(Law::Backlog {
            per_replica: f.opt("backlog_rate", Value::positive)?,
            catch_up: f.req("catch_up", "a duration such as \"30s\"", Value::period)?,
        }),
        (false, false, true) => steps(f).map(Law::Steps),
        (false, false, false) => {
            f.error(
                "target",
                "is missing: expected target, backlog_rate or [[policy.metric.step]]",
            );
            None
        }
        _ => {
            f.error("target", "expected only one of target, backlog_rate and step");
            None
        }
    }
}

fn target(f: &Fields<'_>, policy: &Policy) -> Option<Target> {
    let mut law = Target::new(f.opt("target", Value::positive)?, policy.start_time);
    let of = [("total", ValueOf::Total), ("average", ValueOf::Average)];
    set(&mut law.value, f.opt("value", |v| v.one_of(&of)));
    set(&mut law.look_ahead, f.opt("look_ahead", Value::duration));
    set(&mut law.slope_window, f.opt("slope_window", Value::period));
    set(&mut law.activation, f.opt("activation", Value::number));
    law.capacity = f.opt("capacity", Value::positive).unwrap_or(law.per_replica / UTILISATION);
    if law.capacity < law.per_replica {
        f.error("capacity", format!("is below the target {}", law.per_replica));
    }
    if let Some(tolerance) = policy.up.tolerance {
        law.headroom = law.headroom_at(tolerance);
    }
    set(&mut law.headroom, policy.headroom);
    set(&mut law.headroom, f.opt("headroom", Value::number));
    if law.value == ValueOf::Average {
        law.surge = 0.0;
    }
    set(&mut law.surge, f.opt("surge", Value::number));
    Some(law)
}

/// Steps whose effect grows with the distance, so that more load never means fewer replicas.
fn steps(f: &Fields<'_>) -> Option<Vec<Step>> {
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for s in f.tables("step", "name") {
        match (s.has("above"), s.has("below")) {
            (true, false) => above.extend(s.opt("above", Value::number).zip(s.req(
                "add",
                "how many replicas to add",
                at_least_one,
            ))),
            (false, true) => below.extend(s.opt("below", Value::number).zip(s.req(
                "remove",
                "how many replicas to take",
                at_least_one,
            ))),
            _ => s.error("above", "expected either above and add, or below and remove"),
        }
        s.finish();
    }
    above.sort_by(|a, b| a.0.total_cmp(&b.0));
    below.sort_by(|a, b| b.0.total_cmp(&a.0));
    let grows = |steps: &[(f64, u32)]| steps.windows(2).all(|w| w[0].1 <= w[1].1);
    if !grows(&above) || !grows(&below) {
        f.error("step", "a step further out must not do less than a nearer one");
        return None;
    }
    if let (Some((low, _)), Some((high, _))) = (below.first(), above.first())
        && low >= high
    {
        f.error("step", format!("below {low} and above {high} overlap: it would never rest"));
        return None;
    }
    let above = above.into_iter().map(|(threshold, add)| Step::Above { threshold, add });
    let below = below.into_iter().map(|(threshold, remove)| Step::Below { threshold, remove });
    Some(above.chain(below).collect())
}

fn query(f: &Fields<'_>, sources: &Sources) -> Option<Query> {
    if sources.any {
        f.opt("source", Value::text);
        for key in KINDS.into_iter().flat_map(|kind| kind.keys) {
            f.has(key);
        }
        return Some(Query::default());
    }
    let expected = format!("the name of a source: one of {}", sources.names());
    let source = f.req("source", &expected, Value::text)?;
    let Some(kind) = sources.kind(&source) else {
        let names = sources.names();
        f.error("source", format!("no source is called {source:?}: expected {names}"));
        return None;
    };
    Some(Query::new(&source, (kind.bind)(f)?))
}

fn schedule(f: &Fields<'_>, ceiling: u32) -> Option<Schedule> {
    f.opt("name", Value::text);
    let cron = f.req("cron", "a pattern such as \"0 8 * * MON-FRI\"", Value::text);
    let zone = f.req("time_zone", "a name such as \"Europe/Paris\"", Value::text);
    let duration = f.req("duration", "a duration such as \"10h\"", Value::period);
    let (min, max) = (f.opt("min", Value::count), f.opt("max", Value::count));
    if min.is_none() && max.is_none() {
        f.error("min", "is missing: expected min, max or both");
    }
    for (key, bound) in [("min", min), ("max", max)] {
        if bound.is_some_and(|b| b > ceiling) {
            f.error(key, format!("is above autoscale_max_instance {ceiling}"));
        }
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        f.error("min", format!("{min} is above max {max}"));
    }
    match Schedule::new(&cron?, &zone?, duration?) {
        Ok(mut schedule) => {
            (schedule.min, schedule.max) = (min, max);
            Some(schedule)
        }
        Err(ScheduleError::Cron(e)) => {
            f.error("cron", e);
            None
        }
        Err(ScheduleError::TimeZone(e)) => {
            f.error("time_zone", e);
            None
        }
    }
}
