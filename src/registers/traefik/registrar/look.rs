//! What the store and Traefik show of this container.

use std::net::SocketAddr;

use super::{Registrar, now};
use crate::registers::Desired;
use crate::registers::traefik::fault::Fault;
use crate::registers::traefik::phase::{Ask, Seen, View};

impl Registrar {
    pub(super) async fn look(&mut self, wish: Desired) -> Result<Seen, Fault> {
        let ask = self.phase.ask(wish, &self.rules, now());
        let at = match ask {
            Ask::Nothing => return Ok(Seen::Nothing),
            Ask::Passing(at) => at,
            Ask::Own | Ask::All { .. } => match self.whoami().await? {
                Some(at) => at,
                None => return Ok(Seen::Nobody),
            },
        };
        let (key, url) = self.rules.keys.server(at);
        match ask {
            Ask::All { strays, traefik } => {
                let mut view = self.view(at, &key).await?;
                if strays {
                    view.strays = Some(self.strays(&key, &url).await?);
                }
                if traefik {
                    view.traefik = Some(self.api.shows(&url).await);
                }
                Ok(Seen::All(view))
            }
            _ => {
                let there = self.client.read(&[&key]).await?.iter().any(Option::is_some);
                if ask == Ask::Own {
                    return Ok(Seen::Own { at, there });
                }
                let asks = self.rules.has_api && !there;
                let traefik = if asks { Some(self.api.shows(&url).await) } else { None };
                Ok(Seen::Passing { there, traefik })
            }
        }
    }

    /// The address of this container: as configured, or our own end of the connection to the store, looked
    /// at anew each time. `None` until HAProxy has told the port.
    async fn whoami(&mut self) -> Result<Option<SocketAddr>, Fault> {
        let Some(port) = self.channels.identity.borrow().port else { return Ok(None) };
        if let Some(addr) = self.settings.app_addr {
            return Ok(Some(SocketAddr::new(addr, port)));
        }
        let addr = self.client.local().await?;
        if self.settings.tells_address {
            self.channels
                .identity
                .send_if_modified(|identity| identity.addr.replace(addr) != Some(addr));
        }
        Ok(Some(SocketAddr::new(addr, port)))
    }

    async fn view(&mut self, at: SocketAddr, key: &str) -> Result<View, Fault> {
        let (permanent, _) = self.rules.keys.permanent();
        let route = self.rules.route.iter().map(|(key, _)| key.as_str());
        let keys: Vec<_> = [key, &permanent].into_iter().chain(route).collect();
        let mut found = self.client.read(&keys).await?.into_iter();
        let own = found.next().flatten();
        let kept = found.next().flatten().is_some();
        let route = found.map(|found| found.map(|found| found.value)).collect();
        Ok(View { at, own, kept, route, strays: None, traefik: None })
    }

    async fn strays(&mut self, key: &str, url: &str) -> Result<Vec<String>, Fault> {
        let servers = self.client.list(&self.rules.keys.servers()).await?.into_iter();
        let strays = servers.filter(|(other, value)| other != key && value == url);
        Ok(strays.map(|(other, _)| other).collect())
    }
}
