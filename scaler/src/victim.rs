//! Who goes on scale-in, and who comes back first on scale-out.

use crate::policy::VictimOrder;
use crate::timestamp::Timestamp;
use std::cmp::Ordering;

/// One container of the service, as far as choosing goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// The executor's handle.
    pub id: String,
    /// Fails its health check.
    pub unhealthy: bool,
    /// Made by the scaler, by label.
    pub clone: bool,
    /// The container that clones are made from: never a victim.
    pub template: bool,
    /// Sessions now; `None` when not known, which counts as busy.
    pub sessions: Option<u64>,
    /// When it was created.
    pub created: Timestamp,
}

/// The `count` replicas that go, first to go first: fewer when only templates are left.
pub fn victims<'a>(replicas: &'a [Replica], count: u32, order: &[VictimOrder]) -> Vec<&'a Replica> {
    let mut candidates: Vec<&Replica> = replicas.iter().filter(|r| !r.template).collect();
    candidates.sort_by(|a, b| {
        let by = |o: &VictimOrder| compare(*o, a, b);
        order.iter().map(by).fold(Ordering::Equal, Ordering::then).then_with(|| a.id.cmp(&b.id))
    });
    candidates.truncate(count as usize);
    candidates
}

fn compare(order: VictimOrder, a: &Replica, b: &Replica) -> Ordering {
    match order {
        VictimOrder::Unhealthy => b.unhealthy.cmp(&a.unhealthy),
        VictimOrder::Clones => b.clone.cmp(&a.clone),
        VictimOrder::LeastSessions => {
            a.sessions.unwrap_or(u64::MAX).cmp(&b.sessions.unwrap_or(u64::MAX))
        }
        VictimOrder::Newest => b.created.cmp(&a.created),
        VictimOrder::Oldest => a.created.cmp(&b.created),
    }
}
