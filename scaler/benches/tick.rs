//! How long one round takes over many policies and containers, with ports that answer at once and a
//! real store. Prints one line per size; time per policy should not grow with their number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use berth_scaler::clock::now;
use berth_scaler::config::{Config, StoreUrl};
use berth_scaler::executor::{
    BoxFuture, Ending, Executor, Health, Instance, Progress, State, StepError, Task,
};
use berth_scaler::notify::Notifier;
use berth_scaler::observation::Reading;
use berth_scaler::ports::{Question, Source};
use berth_scaler::run::tick::Round;
use berth_scaler::sources::Sources;
use berth_scaler::store::Store;
use berth_scaler::timestamp::Timestamp;

const CONTAINERS_EACH: usize = 10;
const ROUNDS: u32 = 10;

struct Still(Vec<Instance>);

impl Executor for Still {
    fn hosts(&self) -> Vec<String> {
        vec!["a".to_owned()]
    }
    fn look<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, StepError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
    fn spec<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
        Box::pin(async { Ok("{}".to_owned()) })
    }
    fn rights(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn ending<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Ending, StepError>> {
        Box::pin(async { Ok(Ending::Unknown) })
    }
    fn advance<'a>(&'a self, _: &'a Task) -> BoxFuture<'a, Result<Progress, StepError>> {
        Box::pin(async { Err(StepError::Refused("nothing is done here".to_owned())) })
    }
}

/// As much work as the containers carry, give or take a little, so that every memory changes.
struct Even(f64);

impl Source for Even {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        self.0 += 0.1;
        let reading = Reading::Value { v: 495.0 + self.0, at: now };
        Box::pin(async move { vec![reading; questions.len()] })
    }
}

fn instances(policies: usize) -> Vec<Instance> {
    let instance = |n: usize| Instance {
        host: "a".to_owned(),
        id: format!("{n:064x}"),
        name: format!("web_{n}"),
        ips: Vec::new(),
        labels: BTreeMap::from([("service_name".to_owned(), format!("s{}", n / CONTAINERS_EACH))]),
        state: State::Running,
        health: Health::Healthy,
        created: Timestamp::from_secs(1),
    };
    (0..policies * CONTAINERS_EACH).map(instance).collect()
}

fn config(policies: usize) -> Config {
    let mut text = "[[http]]\nname = \"q\"\nurl = \"http://127.0.0.1:1/\"\n".to_owned();
    for n in 0..policies {
        text += &format!(
            "[[policy]]\npolicy_name = \"p{n}\"\nservice_name = \"s{n}\"\n\
             autoscale_max_instance = 20\n[[policy.metric]]\nname = \"m\"\nsource = \"q\"\n\
             pointer = \"/x\"\ntarget = 50\n"
        );
    }
    Config::parse(&text, &|_| None).unwrap_or_else(|e| panic!("{e:?}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    for policies in [125, 250, 500, 1000] {
        let dir = tempfile::TempDir::new()?;
        let url = StoreUrl::Sqlite(dir.path().join("scaler.db"));
        let store = Store::open(&url).await?;
        let ttl = Duration::from_secs(600);
        let lease =
            store.take_lease("bench", ttl, &store.see_lease().await?).await?.context("no lease")?;
        let mut round = Round::new(
            Arc::new(config(policies)),
            store,
            Arc::new(Still(instances(policies))),
            Sources::from_named(HashMap::from([(
                "q".to_owned(),
                Box::new(Even(0.0)) as Box<dyn Source>,
            )])),
            Notifier::start(&[])?,
            Arc::default(),
        );
        let began = Instant::now();
        round.tick(&lease).await?;
        let first = began.elapsed();
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let rounded = round.tick(&lease).await?;
            assert_eq!(rounded.acted, 0);
        }
        let each = began.elapsed() / ROUNDS;
        println!(
            "{policies:5} policies, {:6} containers: first round {first:>9.1?}, then {each:>8.1?}, \
             {:.1?} per policy ({})",
            policies * CONTAINERS_EACH,
            each / u32::try_from(policies).unwrap_or(u32::MAX),
            now()
        );
    }
    Ok(())
}
