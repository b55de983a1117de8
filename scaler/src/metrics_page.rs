//! `/metrics` in Prometheus' text format, and `/healthz`.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::decide::Decision;
use crate::observation::{Observation, Reading, Replicas};
use crate::policy::Policy;

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

/// What the scaler shows of itself.
#[derive(Debug)]
pub struct Page {
    registry: Registry,
    replicas: Family<Labels, Gauge>,
    recommended: Family<Labels, Gauge>,
    bound: Family<Labels, Gauge>,
    reading: Family<Labels, Number>,
    unread: Family<Labels, Counter>,
    acts: Family<Labels, Counter>,
    /// Alerts taken in, by what became of them at the door.
    pub alerts: Family<Labels, Counter>,
    leading: Gauge,
    epoch: Gauge,
    ticks: Histogram,
    blind_hosts: Gauge,
    reload_failed: Gauge,
    /// When the loop last came round, standing by or leading.
    alive_at: Mutex<Instant>,
    /// When somebody was last known to lead.
    led_at: Mutex<Option<Instant>>,
    /// Why the last round came to nothing.
    trouble: Mutex<Option<String>>,
}

impl Default for Page {
    fn default() -> Self {
        let mut page = Self {
            registry: Registry::with_prefix("berth_scaler"),
            replicas: Family::default(),
            recommended: Family::default(),
            bound: Family::default(),
            reading: Family::default(),
            unread: Family::default(),
            acts: Family::default(),
            alerts: Family::default(),
            leading: Gauge::default(),
            epoch: Gauge::default(),
            ticks: Histogram::new([0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            blind_hosts: Gauge::default(),
            reload_failed: Gauge::default(),
            alive_at: Mutex::new(Instant::now()),
            led_at: Mutex::default(),
            trouble: Mutex::default(),
        };
        page.register();
        page
    }
}

impl Page {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("replicas", "Replicas of a policy, by state", self.replicas.clone());
        let help = "Replicas that a policy recommends, also while paused or on a dry run";
        r.register("recommended_replicas", help, self.recommended.clone());
        r.register("bound_replicas", "Minimum and maximum of a policy", self.bound.clone());
        r.register("metric_value", "Last value of a policy's metric", self.reading.clone());
        let help = "Readings that were stale, missing or an error";
        r.register("readings_unusable", help, self.unread.clone());
        r.register("acts", "Acts, by action and outcome", self.acts.clone());
        r.register("alerts", "Alerts received, by what became of them", self.alerts.clone());
        r.register("leading", "Whether this scaler leads", self.leading.clone());
        r.register(
            "lease_epoch",
            "Epoch of the lease that this scaler had last",
            self.epoch.clone(),
        );
        let help = "How long a round over all policies takes";
        r.register_with_unit("tick", help, Unit::Seconds, self.ticks.clone());
        r.register("blind_hosts", "Docker hosts that do not answer", self.blind_hosts.clone());
        let help = "Whether the file's configuration is wrong and the last good one holds";
        r.register("reload_failed", help, self.reload_failed.clone());
    }

    /// The page in the text format 0.0.4, which differs from OpenMetrics in what a counter's help
    /// and type stand under, and in the end.
    pub fn text(&self) -> String {
        let mut open_metrics = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut open_metrics, &self.registry);
        let counter =
            |line: &str| line.strip_suffix(" counter")?.strip_prefix("# TYPE ").map(str::to_owned);
        let counters: Vec<String> = open_metrics.lines().filter_map(counter).collect();
        let mut text = String::with_capacity(open_metrics.len());
        for line in
            open_metrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT "))
        {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some(kind), Some(name), Some(rest))
                    if counters.iter().any(|c| c == name) =>
                {
                    text += &format!("# {kind} {name}_total {rest}");
                }
                _ => text += line,
            }
            text.push('\n');
        }
        text
    }

    /// Whether the loop has come round within `patience`, somebody has led within `lead`, and the
    /// last round came to its end. Leading needs a store that can be written: whoever leads writes
    /// to it all the time.
    pub fn health(&self, patience: Duration, lead: Duration) -> Result<(), String> {
        let since = held(&self.alive_at).elapsed();
        if since > patience {
            return Err(format!("the loop has not come round for {} s", since.as_secs()));
        }
        match held(&self.led_at).map(|at| at.elapsed()) {
            None => return Err("nobody has led yet".to_owned()),
            Some(since) if since > lead => {
                let since = since.as_secs();
                return Err(format!("nobody has led for {since} s: can the store be written?"));
            }
            Some(_) => {}
        }
        match &*held(&self.trouble) {
            None => Ok(()),
            Some(why) => Err(format!("the last round came to nothing: {why}")),
        }
    }

    /// Somebody leads: the lease was taken or renewed.
    pub fn led(&self) {
        *held(&self.led_at) = Some(Instant::now());
    }

    /// The loop has come round, with an error or without.
    pub fn came_round(&self, trouble: Option<String>) {
        *held(&self.alive_at) = Instant::now();
        *held(&self.trouble) = trouble;
    }

    /// Forgets what only a leader knows, and says who leads.
    pub fn lead(&self, epoch: Option<i64>) {
        self.leading.set(epoch.is_some().into());
        match epoch {
            Some(epoch) => drop(self.epoch.set(epoch)),
            None => self.forget(),
        }
    }

    /// The policies that hold now, in place of others: what is gone is not shown any more.
    pub fn policies(&self, before: &[Policy], now: &[Policy]) {
        fn shown(policy: &Policy) -> (&str, Vec<&str>) {
            (&policy.name, policy.metrics.iter().map(|m| m.name.as_str()).collect())
        }
        let now: HashSet<_> = now.iter().map(shown).collect();
        if !before.iter().all(|policy| now.contains(&shown(policy))) {
            self.forget();
        }
    }

    fn forget(&self) {
        self.replicas.clear();
        self.recommended.clear();
        self.bound.clear();
        self.reading.clear();
    }

    /// A policy's round.
    pub fn decided(&self, policy: &Policy, seen: &Observation, decision: &Decision) {
        let of = |key: &'static str, value: &str| {
            vec![("policy", policy.name.clone()), (key, value.to_owned())]
        };
        if let Some(Replicas { running, starting, draining, unhealthy, stopped }) = seen.replicas {
            for (state, n) in [
                ("running", running),
                ("starting", starting),
                ("draining", draining),
                ("unhealthy", unhealthy),
                ("stopped", stopped),
            ] {
                self.replicas.get_or_create(&of("state", state)).set(n.into());
            }
        }
        let only = vec![("policy", policy.name.clone())];
        self.recommended.get_or_create(&only).set(decision.want.into());
        self.bound.get_or_create(&of("bound", "min")).set(policy.min.into());
        self.bound.get_or_create(&of("bound", "max")).set(policy.max.into());
        for (metric, reading) in policy.metrics.iter().zip(&seen.readings) {
            let labels = of("metric", &metric.name);
            match reading {
                Reading::Value { v, .. } | Reading::AtLeast { v, .. } => {
                    self.reading.get_or_create(&labels).set(*v);
                }
                _ => {
                    // A value that is not known is not shown.
                    self.reading.remove(&labels);
                    self.unread.get_or_create(&labels).inc();
                }
            }
        }
    }

    /// An act and its outcome.
    pub fn acted(&self, policy: &str, action: &str, outcome: &str) {
        let labels = vec![
            ("policy", policy.to_owned()),
            ("action", action.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        self.acts.get_or_create(&labels).inc();
    }

    /// An alert at the door.
    pub fn alert(&self, result: &'static str) {
        self.alerts.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    /// A whole round.
    pub fn round(&self, took: Duration, blind_hosts: usize) {
        self.ticks.observe(took.as_secs_f64());
        self.blind_hosts.set(i64::try_from(blind_hosts).unwrap_or(i64::MAX));
    }

    /// Whether the last reload went wrong.
    pub fn reloaded(&self, failed: bool) {
        self.reload_failed.set(failed.into());
    }
}

/// What is written is whole at any time, even if its writer panicked.
fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
