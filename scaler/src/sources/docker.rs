//! CPU and memory of a service's containers by the Docker API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::config::reader::Fields;
use crate::executor::docker::Hosts;
use crate::executor::docker::hosts::step_error;
use crate::executor::{BoxFuture, Instance};
use crate::observation::Reading;
use crate::policy::ValueOf;
use crate::ports::{Question, Source, SourceKind, SourceSettings, World};
use crate::timestamp::Timestamp;

/// Containers that are asked for at once.
const AT_ONCE: usize = 16;

/// `[[source]] kind = "docker"`; one that is called so is always there.
pub static KIND: SourceKind = SourceKind {
    name: "docker",
    has_own_table: false,
    settings: |_| Some(Arc::new(Settings)),
    keys: &["stat"],
    bind,
};

/// What a metric asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stat {
    /// Percent of one core.
    Cpu,
    /// Bytes in use, less the page cache.
    Memory,
}

fn bind(f: &Fields<'_>) -> Option<Value> {
    let stats = [("cpu", Stat::Cpu), ("memory", Stat::Memory)];
    let stat = f.req("stat", "cpu or memory", |v| v.one_of(&stats))?;
    serde_json::to_value(stat).ok()
}

/// Which hosts there are stands in `[[docker]]`.
#[derive(Debug)]
pub struct Settings;

impl SourceSettings for Settings {
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>> {
        Ok(Box::new(DockerStats::new(world.hosts.clone(), world.patience)))
    }
}

/// The statistics of every container that is asked for.
#[derive(Debug)]
pub struct DockerStats {
    hosts: Hosts,
    patience: Duration,
    /// CPU nanoseconds used by each container at the last look.
    used: HashMap<String, (u64, Instant)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    cpu_nanos: Option<u64>,
    memory: Option<u64>,
}

impl DockerStats {
    /// Asks `hosts`; a question takes at most `patience`.
    pub fn new(hosts: Hosts, patience: Duration) -> Self {
        Self { hosts, patience, used: HashMap::new() }
    }

    async fn usage<'m>(&self, member: &'m Instance) -> (&'m str, Result<Usage, String>) {
        let ask = async {
            let docker = self.hosts.named(&member.host)?.client();
            let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
            let mut stats = std::pin::pin!(docker.stats(&member.id, Some(options)));
            stats.next().await.transpose().map_err(step_error)
        };
        let usage = match timeout(self.patience, ask).await {
            Ok(Ok(Some(stats))) => Ok(usage(&stats)),
            Ok(Ok(None)) => Err(format!("{}: no statistics", member.name)),
            Ok(Err(error)) => Err(format!("{}: {error}", member.name)),
            Err(_) => Err(format!("{}: no answer within {:?}", member.name, self.patience)),
        };
        (&member.id, usage)
    }
}

impl Source for DockerStats {
    fn asks_each(&self) -> bool {
        true
    }

    fn read<'a>(
        &'a mut self,
        questions: &'a [Question],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            let mut members: Vec<&Instance> = questions.iter().flat_map(|q| &q.members).collect();
            members.sort_by(|a, b| a.id.cmp(&b.id));
            members.dedup_by(|a, b| a.id == b.id);
            let asked: Vec<_> = members.into_iter().map(|member| self.usage(member)).collect();
            let usages: HashMap<&str, Result<Usage, String>> =
                futures_util::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
            let looked = Instant::now();
            let answers =
                questions.iter().map(|q| answer(q, &usages, &self.used, now, looked)).collect();
            self.used = usages
                .iter()
                .filter_map(|(id, usage)| Some((id, usage.as_ref().ok()?.cpu_nanos?)))
                .map(|(id, nanos)| ((*id).to_owned(), (nanos, looked)))
                .collect();
            answers
        })
    }
}

fn answer(
    question: &Question,
    usages: &HashMap<&str, Result<Usage, String>>,
    before: &HashMap<String, (u64, Instant)>,
    now: Timestamp,
    looked: Instant,
) -> Reading {
    let Some(stat) = question.query.asked() else { return Reading::Missing };
    let mut values = Vec::new();
    for member in &question.members {
        let value = match usages.get(member.id.as_str()) {
            Some(Ok(usage)) => match stat {
                Stat::Memory => usage.memory.map(|bytes| bytes as f64),
                Stat::Cpu => before
                    .get(&member.id)
                    .zip(usage.cpu_nanos)
                    .and_then(|(&(last, at), used)| percent(last, used, looked.duration_since(at))),
            },
            Some(Err(why)) => return Reading::Error(why.clone()),
            None => None,
        };
        values.extend(value);
    }
    if values.is_empty() {
        return Reading::Missing;
    }
    // A container too young to be measured is taken to be like the others.
    let average = values.iter().sum::<f64>() / values.len() as f64;
    let v = match question.value {
        ValueOf::Average => average,
        ValueOf::Total => average * question.members.len() as f64,
    };
    Reading::Value { v, at: now }
}

/// Percent of one core; a counter that fell belongs to a container started anew.
fn percent(last: u64, used: u64, elapsed: Duration) -> Option<f64> {
    let elapsed = elapsed.as_secs_f64();
    let used = if used < last { used } else { used - last };
    (elapsed > 0.0).then(|| used as f64 / 1e9 / elapsed * 100.0)
}

/// Memory in use is what `docker stats` shows: less the page cache that can be dropped.
fn usage(stats: &ContainerStatsResponse) -> Usage {
    let cpu = stats.cpu_stats.as_ref().and_then(|c| c.cpu_usage.as_ref());
    let memory = stats.memory_stats.as_ref();
    let cache = memory.and_then(|m| {
        let stats = m.stats.as_ref()?;
        stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied()
    });
    Usage {
        cpu_nanos: cpu.and_then(|usage| usage.total_usage),
        memory: memory
            .and_then(|m| m.usage)
            .map(|bytes| bytes.saturating_sub(cache.unwrap_or_default())),
    }
}
