//! What a service's owner asks for. Parsed at the edge ([`crate::config`]); nothing here is
//! validated again.

use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest name of anything, in bytes: what a column of the store holds.
pub const LONGEST_NAME: usize = 190;

/// The largest minimum and maximum: a slip of the finger must not fill the hosts and the store.
pub const MOST_REPLICAS: u32 = 10_000;

/// Whether a container may be called so, or so and a number. The error says what was expected.
pub fn check_container_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(legal) {
        true => Ok(()),
        false => Err(format!(
            "containers are called by it: expected letters, digits, _, . and -, the first one a \
             letter or a digit, not {name:?}"
        )),
    }
}

/// Whether a policy may be called so: not like an option of the command line, and not like what
/// stands for all policies. The error says what was expected.
pub fn check_policy_name(name: &str) -> Result<(), String> {
    match name.starts_with(['-', '*']) {
        true => Err(format!("a policy's name does not begin with - or *, not {name:?}")),
        false => Ok(()),
    }
}

/// One policy: which service, between which bounds, by which signals, how fast each way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// `policy_name`, unique in the table.
    pub name: String,
    /// `service_name`: the service whose containers are started and stopped.
    pub service: String,
    /// `alert_service_name`: the service that alerts name; `service_name` when left out.
    pub alert_service: String,
    /// `naming_convention`: prefix of new containers' names, as in `webapp_`.
    pub naming_convention: Option<String>,
    /// `autoscale_min_instance`: always at least this many, even when blind.
    pub min: u32,
    /// `autoscale_max_instance`: never more than this many, whatever asks for them.
    pub max: u32,
    /// `autoscale_action`: what this policy may do.
    pub actions: Actions,
    /// Signals; the one that asks for most wins.
    pub metrics: Vec<Metric>,
    /// `headroom`: that of every metric which says nothing of its own.
    pub headroom: Option<f64>,
    /// Rules for starting replicas.
    pub up: Rules,
    /// Rules for stopping replicas.
    pub down: Rules,
    /// `start_time`: from the start of a container to its first answer; the horizon of look-ahead.
    pub start_time: Duration,
    /// Times at which the bounds move.
    pub schedules: Vec<Schedule>,
    /// `alert_step`: how many replicas one alert adds or takes.
    pub alert_step: u32,
    /// `pause`: directions in which nothing is done, though still recommended.
    pub pause: Pause,
    /// `dry_run`: decide and record, never act.
    pub dry_run: bool,
    /// `template`: the name of the container that new ones are made like and whose labels count;
    /// without it the eldest that the scaler did not make, once chosen for good.
    pub template: Option<String>,
    /// `hosts`: the Docker hosts on which new containers are made; none is any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// `clone_privileged`: what gives a container rights on its host, such as a path of the host,
    /// is cloned onto other hosts too.
    pub clone_privileged: bool,
    /// `victim`: in which order replicas go on scale-in.
    pub victim: Vec<VictimOrder>,
    /// `drain_grace`: how long a stopping container may take before it is killed; longer than the
    /// agent's `DRAIN_TIMEOUT`.
    pub drain_grace: Duration,
}

impl Policy {
    /// A policy with the default law and no metrics: holds `min`…`max` and follows alerts.
    pub fn new(name: &str, service: &str, min: u32, max: u32) -> Self {
        Self {
            name: name.to_owned(),
            service: service.to_owned(),
            alert_service: service.to_owned(),
            naming_convention: None,
            min,
            max,
            actions: Actions::default(),
            metrics: Vec::new(),
            headroom: None,
            up: Rules::up(),
            down: Rules::down(),
            start_time: Duration::from_secs(20),
            schedules: Vec::new(),
            alert_step: 1,
            pause: Pause::None,
            dry_run: false,
            template: None,
            hosts: Vec::new(),
            clone_privileged: false,
            victim: VictimOrder::DEFAULT.to_vec(),
            drain_grace: Duration::from_secs(60),
        }
    }

    /// The rules of one direction.
    pub fn rules(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

/// One signal and how it becomes a number of replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// `name`, unique in the policy; readings come in under it.
    pub name: String,
    /// Where the reading comes from.
    pub query: Query,
    /// How the value becomes replicas.
    pub law: Law,
    /// `stale_after`: a reading older than this no longer counts.
    pub stale_after: Duration,
}

/// How a value becomes replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Law {
    /// `target`: demand against what the replicas can carry.
    Target(Target),
    /// `backlog_rate` and `catch_up`: work that waits. Its need is added to the largest need of
    /// the other metrics.
    Backlog {
        /// `backlog_rate`: how much one replica works off per second.
        per_replica: f64,
        /// `catch_up`: within which time the backlog should be gone.
        catch_up: Duration,
    },
    /// `[[policy.metric.step]]`: above or below a threshold, by so many.
    Steps(Vec<Step>),
}

/// Target tracking: a demand, and what one replica should and can carry of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// `target`: demand per replica, in the metric's own unit.
    pub per_replica: f64,
    /// `value = "total"` or `"average"`: what the source reports.
    pub value: ValueOf,
    /// `look_ahead`: how far growth is followed; zero takes each reading as it is.
    pub look_ahead: Duration,
    /// `slope_window`: over which time growth and noise are measured.
    pub slope_window: Duration,
    /// `activation`: at or below this value nothing is needed at all, which only matters with
    /// `autoscale_min_instance = 0`.
    pub activation: f64,
    /// `capacity`: what one replica can carry at most, in the metric's own unit.
    pub capacity: f64,
    /// `headroom`: the least free share beyond what is expected before more is started.
    pub headroom: f64,
    /// `surge`: at most this share more to work off what will be waiting; zero never does.
    pub surge: f64,
    /// The policy's `start_time`.
    pub start_time: Duration,
}

impl Target {
    /// A total with the default look-ahead for what takes `start_time` to start.
    pub fn new(per_replica: f64, start_time: Duration) -> Self {
        Self {
            per_replica,
            value: ValueOf::Total,
            look_ahead: start_time,
            slope_window: SLOPE_WINDOW,
            activation: 0.0,
            capacity: per_replica / UTILISATION,
            headroom: HEADROOM,
            surge: SURGE,
            start_time,
        }
    }

    /// The headroom with which more is started once the demand is `tolerance` above the target.
    pub fn headroom_at(&self, tolerance: f64) -> f64 {
        (self.capacity / self.per_replica / (1.0 + tolerance) - 1.0).max(0.0)
    }
}

/// The default of `slope_window`.
pub const SLOPE_WINDOW: Duration = Duration::from_secs(120);
/// `target` as a share of `capacity`, unless both are said.
pub const UTILISATION: f64 = 0.7;
/// The default of `headroom`: more is started at 1.22 times the target.
pub const HEADROOM: f64 = 0.17;
/// The default of `surge` for a total. An average says nothing of how much is waiting.
pub const SURGE: f64 = 0.4;

/// What a source reports of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueOf {
    /// The whole service's demand.
    Total,
    /// The average over its running replicas, as CPU percent is.
    Average,
}

/// A threshold and how many replicas are added or taken beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `above` and `add`.
    Above {
        /// Strictly above this value …
        threshold: f64,
        /// … so many more than are running.
        add: u32,
    },
    /// `below` and `remove`.
    Below {
        /// Strictly below this value …
        threshold: f64,
        /// … so many fewer.
        remove: u32,
    },
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// `window`: up acts on the smallest, down on the largest recommendation of this time.
    pub window: Duration,
    /// `cooldown`: the time from an act to the next in this direction. An act up also starts the
    /// cool-down of down.
    pub cooldown: Duration,
    /// `limit_count`, `limit_percent`, `limit_period`: at most so much per period.
    pub limit: Option<Limit>,
    /// `tolerance`, from earlier versions. Up: how far the demand may be above the target before more
    /// is started, which is what `headroom` says otherwise. Down: at least this share must be spare.
    pub tolerance: Option<f64>,
    /// `idle`, of `down` alone: spare replicas go once they have idled, together, as long as the
    /// whole fleet would in this time.
    pub idle: Duration,
}

impl Rules {
    /// The default rules for starting replicas: at once.
    pub fn up() -> Self {
        Self {
            window: Duration::ZERO,
            cooldown: Duration::ZERO,
            limit: None,
            tolerance: None,
            idle: Duration::ZERO,
        }
    }

    /// The default rules for stopping them: what 45 s never needed, once it has idled for long.
    pub fn down() -> Self {
        Self {
            window: Duration::from_secs(45),
            cooldown: Duration::ZERO,
            limit: None,
            tolerance: None,
            idle: Duration::from_secs(30),
        }
    }
}

/// A rate limit: the larger of a count and a share of the replicas at the period's start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Replicas per period.
    pub count: u32,
    /// Percent of the replicas per period.
    pub percent: f64,
    /// The period.
    pub period: Duration,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More replicas.
    Up,
    /// Fewer replicas.
    Down,
}

/// An action in the article's words, as alerts and policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start what stopped, recreate what was deleted.
    ServiceAvailability,
    /// One step more.
    #[serde(alias = "haproxy_scale_up")]
    ScaleUp,
    /// One step less.
    ScaleDown,
    /// One step more of the load balancer's nodes.
    ScaleUpNode,
    /// One step less of the load balancer's nodes.
    ScaleDownNode,
    /// One step more, named by the naming convention.
    ScaleUpService,
    /// One step less of the containers that the naming convention names.
    ScaleDownService,
}

impl Action {
    /// Every action, for messages that list them.
    pub const ALL: [Action; 7] = [
        Action::ServiceAvailability,
        Action::ScaleUp,
        Action::ScaleDown,
        Action::ScaleUpNode,
        Action::ScaleDownNode,
        Action::ScaleUpService,
        Action::ScaleDownService,
    ];

    /// The article's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::ServiceAvailability => "service_availability",
            Action::ScaleUp => "scale_up",
            Action::ScaleDown => "scale_down",
            Action::ScaleUpNode => "scale_up_node",
            Action::ScaleDownNode => "scale_down_node",
            Action::ScaleUpService => "scale_up_service",
            Action::ScaleDownService => "scale_down_service",
        }
    }

    /// Whether it is about machines, of which there is no group to scale.
    pub fn is_for_nodes(self) -> bool {
        matches!(self, Action::ScaleUpNode | Action::ScaleDownNode)
    }

    /// Why an action for machines is refused, in words.
    pub fn no_nodes(self) -> String {
        format!("{self} needs a group of nodes, and there is none: only containers are scaled")
    }

    /// Which way it scales; `None` for `service_availability`.
    pub fn direction(self) -> Option<Direction> {
        match self {
            Action::ServiceAvailability => None,
            Action::ScaleUp | Action::ScaleUpNode | Action::ScaleUpService => Some(Direction::Up),
            Action::ScaleDown | Action::ScaleDownNode | Action::ScaleDownService => {
                Some(Direction::Down)
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let name = if s == "haproxy_scale_up" { "scale_up" } else { s };
        match Action::ALL.into_iter().find(|a| a.as_str() == name) {
            Some(action) if action.is_for_nodes() => Err(action.no_nodes()),
            Some(action) => Ok(action),
            None => {
                let all = Action::ALL.iter().filter(|a| !a.is_for_nodes()).map(|a| a.as_str());
                let all: Vec<_> = all.collect();
                Err(format!("expected one of {}, haproxy_scale_up, not {s:?}", all.join(", ")))
            }
        }
    }
}

/// `autoscale_action`: the set of what a policy may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// In the order written.
    pub list: Vec<Action>,
}

impl Default for Actions {
    fn default() -> Self {
        Self { list: vec![Action::ScaleUp, Action::ScaleDown] }
    }
}

impl Actions {
    /// Whether anything in the set scales this way.
    pub fn allows(&self, direction: Direction) -> bool {
        self.list.iter().any(|a| a.direction() == Some(direction))
    }

    /// What an alert that names no action asks for: all that the policy can do. The error says why
    /// it cannot be told.
    pub fn only(&self) -> Result<Action, String> {
        let to = |way| self.list.iter().copied().find(|a| a.direction() == Some(way));
        match (to(Direction::Up), to(Direction::Down)) {
            (Some(up), Some(down)) => Err(format!(
                "it names no autoscale_action: expected {up} or {down}, since the policy does both"
            )),
            (None, None) if self.list.is_empty() => {
                Err("it names no autoscale_action, and the policy has none".to_owned())
            }
            (up, down) => Ok(up.or(down).unwrap_or(Action::ServiceAvailability)),
        }
    }

    /// Whether stopped containers are started again and deleted ones recreated.
    pub fn availability(&self) -> bool {
        self.list.contains(&Action::ServiceAvailability)
    }
}

/// `pause`: which directions stand still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Neither.
    #[default]
    None,
    /// No starting.
    Up,
    /// No stopping.
    Down,
    /// Nothing at all, not even for min and max.
    Both,
}

impl Pause {
    /// Whether this direction stands still.
    pub fn covers(self, direction: Direction) -> bool {
        match self {
            Pause::None => false,
            Pause::Both => true,
            Pause::Up => direction == Direction::Up,
            Pause::Down => direction == Direction::Down,
        }
    }
}

/// One rule of the order in which replicas go; earlier rules win, ties fall to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VictimOrder {
    /// Unhealthy ones first.
    Unhealthy,
    /// Those that the scaler itself made, by label.
    Clones,
    /// Those with the fewest sessions.
    LeastSessions,
    /// The youngest.
    Newest,
    /// The eldest.
    Oldest,
}

impl VictimOrder {
    /// Unhealthy, then our own clones, then the least busy, then the newest.
    pub const DEFAULT: [VictimOrder; 4] = [
        VictimOrder::Unhealthy,
        VictimOrder::Clones,
        VictimOrder::LeastSessions,
        VictimOrder::Newest,
    ];
}

/// Where a metric's reading comes from; the core never looks at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Name of the source; empty for a metric that is fed from elsewhere, as by the simulator.
    pub source: String,
    /// What is asked of it, as its kind has read it from the metric's own keys.
    pub asks: serde_json::Value,
}

impl Query {
    /// A question that its source understands.
    pub fn new(source: &str, asks: impl Serialize) -> Self {
        let asks = serde_json::to_value(asks).unwrap_or_default();
        Self { source: source.to_owned(), asks }
    }

    /// What is asked, in the form of the source's kind; `None` when it was bound by another.
    pub fn asked<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&self.asks).ok()
    }
}
