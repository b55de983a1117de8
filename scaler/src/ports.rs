//! What the scaler needs from the world, as traits. Whatever speaks to a system outside is behind one
//! of them: an adapter is one file, and one line in a table of kinds.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::config::ClientTls;
use crate::config::reader::Fields;
use crate::executor::docker::Hosts;
use crate::executor::{BoxFuture, Instance};
use crate::observation::Reading;
use crate::policy::{Query, ValueOf};
use crate::timestamp::Timestamp;

/// A kind of source, as its file exports it.
#[derive(Debug)]
pub struct SourceKind {
    /// The word after `kind =` in a `[[source]]` table.
    pub name: &'static str,
    /// Whether `[[name]]` is another way to write a `[[source]]` of this kind.
    pub has_own_table: bool,
    /// Reads a source's own keys. `None` when something was wrong, which is then recorded.
    pub settings: fn(&Fields<'_>) -> Option<Arc<dyn SourceSettings>>,
    /// The metric's own keys that it knows.
    pub keys: &'static [&'static str],
    /// Reads what a metric asks of such a source, from the metric's own keys; as [`Query::asked`] gives
    /// it back. `None` when something was wrong, which is then recorded.
    pub bind: fn(&Fields<'_>) -> Option<Value>,
}

/// What a configuration says of one source.
pub trait SourceSettings: Debug + Send + Sync {
    /// Reads certificates; connects to nobody yet.
    ///
    /// # Errors
    /// A file that cannot be read, or an address that is none.
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>>;

    /// What it connects to, each `host`, `host:port` or a URL, by the key that it stands under.
    fn hosts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Its certificates.
    fn tls(&self) -> Option<&ClientTls> {
        None
    }
}

/// What a source may use.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The longest that an answer may take.
    pub patience: Duration,
    /// The Docker hosts.
    pub hosts: &'a Hosts,
}

/// One question to a source.
#[derive(Clone, Debug)]
pub struct Question {
    /// The service that it is about.
    pub service: String,
    /// What is asked.
    pub query: Query,
    /// Whether the sum over the replicas is asked for or their average, where the source has them
    /// one by one.
    pub value: ValueOf,
    /// The replicas that run, for a source that asks each of them.
    pub members: Vec<Instance>,
}

impl Question {
    /// Whether the same is asked, of whatever replicas.
    pub fn is_like(&self, other: &Question) -> bool {
        self.service == other.service && self.query == other.query && self.value == other.value
    }
}

/// A source of readings.
pub trait Source: Send {
    /// One reading for each question, in their order.
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>>;

    /// Whether it asks each replica, and so has to be told which there are.
    fn asks_each(&self) -> bool {
        false
    }

    /// Sessions at each address, as far as the last reading told.
    fn sessions(&self) -> HashMap<IpAddr, u64> {
        HashMap::new()
    }
}
