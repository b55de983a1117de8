//! Which servers of a backend are the slots of its template.

use std::sync::Arc;

use crate::few::Few;
use crate::registers::haproxy::Server;

/// The slots of a backend whose names are a prefix and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    backend: Arc<str>,
    prefix: Arc<str>,
    /// The lowest number.
    first: Option<u32>,
    /// Servers of other templates, by how far their numbers are ahead of their ids.
    others: Vec<i64>,
}

impl Template {
    /// The template that `backend` shows, empty if there is none. A name such as `web21` has prefix
    /// `web` and prefix `web2`. HAProxy numbers the ids of one template as it numbers its names; so
    /// where some of the slots begin with 0 or 1, others that begin with 10, 11, 20, 21, … are those
    /// of a longer prefix.
    pub fn of(servers: &[Server], backend: &Arc<str>, prefix: &str) -> Self {
        let mut runs = Few::<i64, u32>::default();
        for server in servers.iter().filter(|server| server.backend == *backend) {
            if let Some(number) = server.slot_number(prefix) {
                let first = runs.or_insert(ahead(number, server), number);
                *first = number.min(*first);
            }
        }
        let is_first = |number: &u32| *number <= 1;
        let others: Vec<_> = match runs.values().any(is_first) {
            true => {
                let longer = |(_, first): &(&i64, &u32)| **first >= 10 && *first % 10 <= 1;
                runs.iter().filter(longer).map(|(ahead, _)| *ahead).collect()
            }
            false => Vec::new(),
        };
        let kept = runs.iter().filter(|(ahead, _)| !others.contains(ahead));
        let first = kept.map(|(_, first)| *first).min();
        Self { backend: Arc::clone(backend), prefix: prefix.into(), first, others }
    }

    /// Its backend.
    pub fn backend(&self) -> &Arc<str> {
        &self.backend
    }

    /// The lowest number of its slots, if it has any.
    pub fn first(&self) -> Option<u32> {
        self.first
    }

    /// Whether a server is one of its slots. What was not made by a template is never taken for
    /// another's.
    pub fn contains(&self, server: &Server) -> bool {
        let number = server.slot_number(&self.prefix);
        server.backend == self.backend
            && number.is_some_and(|number| {
                let other = self.others.contains(&ahead(number, server));
                !(other && server.admin.configured_disabled())
            })
    }

    /// Whether a server is one of its first `limit` slots.
    pub fn allows(&self, server: &Server, limit: Option<u32>) -> bool {
        let number = server.slot_number(&self.prefix).zip(self.first);
        let place = number.map(|(number, first)| number.saturating_sub(first));
        self.contains(server) && limit.is_none_or(|limit| place.is_some_and(|place| place < limit))
    }

    /// Its slots, in HAProxy's order.
    pub fn slots<'a>(&self, servers: &'a [Server]) -> Vec<&'a Server> {
        servers.iter().filter(|server| self.contains(server)).collect()
    }

    /// The prefix of its servers' names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

fn ahead(number: u32, server: &Server) -> i64 {
    i64::from(number) - i64::from(server.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::haproxy::{AdminState, Checks};
    use std::time::Duration;

    /// Servers of backend `b`, with ids in this order from 1 up.
    fn servers(names: &[String]) -> Vec<Server> {
        let server = |(name, id): (&String, u32)| Server {
            backend: "b".into(),
            backend_id: 3,
            id,
            name: name.as_str().into(),
            addr: None,
            port: None,
            running: false,
            admin: AdminState(AdminState::FORCED_MAINT | AdminState::CONFIGURED_MAINT),
            weight: 1,
            configured_weight: 1,
            has_name: false,
            unchanged: Duration::ZERO,
            checks: Checks::None,
        };
        names.iter().zip(1..).map(server).collect()
    }

    fn of(ranges: &[(&str, std::ops::RangeInclusive<u32>)]) -> Vec<Server> {
        let names = |(prefix, range): &(&str, std::ops::RangeInclusive<u32>)| -> Vec<String> {
            range.clone().map(|number| format!("{prefix}{number}")).collect()
        };
        servers(&ranges.iter().flat_map(names).collect::<Vec<_>>())
    }

    #[test]
    fn slots_of_a_longer_prefix_are_not_its_own() {
        for (ranges, expected) in [
            (&[("web", 1..=30), ("web2", 1..=120)][..], 30),
            (&[("web2", 1..=120), ("web", 1..=30)], 30),
            (&[("web2", 0..=9), ("web", 0..=3)], 4),
            (&[("web", 1..=10), ("web", 11..=20)], 20),
            (&[("web", 1..=5), ("api", 1..=9), ("web", 6..=9)], 9),
            (&[("web", 101..=103)], 3),
            (&[("web", 0..=0)], 1),
        ] {
            let servers = of(ranges);
            let template = Template::of(&servers, &"b".into(), "web");
            assert_eq!(template.slots(&servers).len(), expected, "{ranges:?}");
        }
    }

    #[test]
    fn a_slot_that_is_gone_takes_no_other_one_along() {
        let mut servers = of(&[("web", 1..=40)]);
        servers.retain(|server| server.id != 20 && server.id != 1);
        let template = Template::of(&servers, &"b".into(), "web");
        assert_eq!(template.slots(&servers).len(), 38);
    }

    #[test]
    fn slots_are_counted_from_the_first() {
        for (range, limit, expected) in
            [(101..=110, 3, 3), (0..=9, 10, 10), (1..=9, 100, 9), (5..=9, 1, 1)]
        {
            let servers = of(&[("web", range.clone())]);
            let template = Template::of(&servers, &"b".into(), "web");
            let allowed = servers.iter().filter(|server| template.allows(server, Some(limit)));
            assert_eq!(allowed.count(), expected, "{range:?}");
        }
    }
}
