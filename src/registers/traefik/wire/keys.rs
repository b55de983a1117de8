//! The keys of one container in a store, as Traefik reads them
//! (<https://doc.traefik.io/traefik/reference/dynamic-configuration/kv/>).

use std::net::SocketAddr;

use crate::registers::traefik::settings::{Route, Scheme};

/// Under which keys the containers of one service register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registers::traefik) struct Keys {
    root: String,
    service: String,
    scheme: Scheme,
}

/// A key and its value.
pub(in crate::registers::traefik) type Pair = (String, String);

impl Keys {
    pub(in crate::registers::traefik) fn new(root: &str, service: &str, scheme: Scheme) -> Self {
        Self { root: root.to_owned(), service: service.to_owned(), scheme }
    }

    /// What Traefik is told of a container. The address is its key, so no two containers share one, and
    /// there is no number to claim.
    pub(in crate::registers::traefik) fn server(&self, at: SocketAddr) -> Pair {
        let field = if self.scheme == Scheme::Tcp { "address" } else { "url" };
        (format!("{}{at}/{field}", self.servers()), self.url(at))
    }

    /// What all keys of servers begin with.
    pub(in crate::registers::traefik) fn servers(&self) -> String {
        let (root, kind, service) = (&self.root, self.kind(), &self.service);
        format!("{root}/{kind}/services/{service}/loadbalancer/servers/")
    }

    /// What stays when the last container goes. Traefik's Redis provider takes no notice of a tree without
    /// a key, and would go on sending requests to the last one. A service over HTTP gets the value that
    /// holds without the key too; for TCP there is none, so the key is one that Traefik does not read.
    pub(in crate::registers::traefik) fn permanent(&self) -> Pair {
        let (root, service) = (&self.root, &self.service);
        let key = match self.scheme {
            Scheme::Tcp => format!("{root}/berth/{service}"),
            _ => format!("{root}/http/services/{service}/loadbalancer/passhostheader"),
        };
        (key, "true".to_owned())
    }

    /// The keys of a route to the service, and those of entry points that it does not have.
    pub(in crate::registers::traefik) fn route(
        &self,
        route: &Route,
    ) -> Vec<(String, Option<String>)> {
        let (root, kind, service) = (&self.root, self.kind(), &self.service);
        let router = format!("{root}/{kind}/routers/{service}");
        let mut keys = vec![
            (format!("{router}/rule"), Some(route.rule.clone())),
            (format!("{router}/service"), Some(service.clone())),
        ];
        // One more: that of a former list which was longer.
        let points = route.entry_points.iter().cloned().map(Some).chain([None]);
        let numbered = points.enumerate();
        keys.extend(numbered.map(|(n, point)| (format!("{router}/entrypoints/{n}"), point)));
        keys
    }

    /// The address that Traefik sends requests to.
    pub(in crate::registers::traefik) fn url(&self, at: SocketAddr) -> String {
        match self.scheme {
            Scheme::Http => format!("http://{at}"),
            Scheme::Https => format!("https://{at}"),
            Scheme::H2c => format!("h2c://{at}"),
            Scheme::Tcp => at.to_string(),
        }
    }

    /// Where Traefik's API shows the service, as that provider has it.
    pub(in crate::registers::traefik) fn api_path(&self, provider: &str) -> String {
        format!("/api/{}/services/{}@{provider}", self.kind(), self.service)
    }

    fn kind(&self) -> &'static str {
        if self.scheme == Scheme::Tcp { "tcp" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_key() {
        let keys = Keys::new("traefik", "web", Scheme::Http);
        let (key, url) = keys.server("10.0.0.5:80".parse().unwrap());
        assert_eq!(key, "traefik/http/services/web/loadbalancer/servers/10.0.0.5:80/url");
        assert_eq!(url, "http://10.0.0.5:80");
        let keys = Keys::new("edge", "db", Scheme::Tcp);
        let (key, url) = keys.server("[fd00::5]:80".parse().unwrap());
        assert_eq!(key, "edge/tcp/services/db/loadbalancer/servers/[fd00::5]:80/address");
        assert_eq!(url, "[fd00::5]:80");
        assert_eq!(keys.api_path("redis"), "/api/tcp/services/db@redis");
        assert_eq!(keys.permanent().0, "edge/berth/db");
    }

    #[test]
    fn a_route_has_its_entry_points_and_no_more() {
        let keys = Keys::new("traefik", "web", Scheme::H2c);
        let route = Route { rule: "Path(`/`)".into(), entry_points: vec!["web".into()] };
        let found = keys.route(&route);
        let found: Vec<_> =
            found.iter().map(|(key, value)| (&key[25..], value.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("rule", Some("Path(`/`)")),
                ("service", Some("web")),
                ("entrypoints/0", Some("web")),
                ("entrypoints/1", None)
            ]
        );
    }
}
