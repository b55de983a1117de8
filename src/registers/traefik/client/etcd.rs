//! What is asked of etcd.

use std::time::Duration;

use super::line::Line;
use super::{Client, Found};
use crate::net::http;
use crate::registers::traefik::fault::Fault;
use crate::registers::traefik::settings::Store;
use crate::registers::traefik::wire::etcd::{self, Answer, Request};
use crate::registers::traefik::wire::keys::Pair;

/// Longest answer, in bytes.
const LONGEST: usize = 1 << 20;
/// What etcd says of a lease that has run out.
const NO_LEASE: &str = "requested lease not found";

impl Client {
    pub(super) async fn etcd_read(&mut self, keys: &[&str]) -> Result<Vec<Option<Found>>, Fault> {
        let parts = self.etcd(&etcd::get_all(keys)).await?.parts();
        if parts.len() != keys.len() {
            return self.garbled();
        }
        let ours = |lease: &Option<String>| lease.is_some() && *lease == self.lease;
        let found = |found: etcd::Found| Found { leased: ours(&found.lease), value: found.value };
        Ok(parts.into_iter().map(|part| part.map(found)).collect())
    }

    pub(super) async fn etcd_list(&mut self, prefix: &str) -> Result<Vec<Pair>, Fault> {
        match self.etcd(&etcd::list(prefix)).await {
            // A right that is not needed to register.
            Err(Fault::Refused { .. }) => Ok(Vec::new()),
            answer => {
                Ok(answer?.found().into_iter().map(|found| (found.key, found.value)).collect())
            }
        }
    }

    pub(super) async fn etcd_put(&mut self, pair: &Pair, lease: Duration) -> Result<(), Fault> {
        for last in [false, true] {
            let id = match self.lease.clone() {
                Some(id) => id,
                None => self.grant(lease).await?,
            };
            match self.etcd(&etcd::put(pair, &id)).await {
                // It ran out while we were frozen, or the store has lost it.
                Err(Fault::Refused { words, .. }) if words.contains(NO_LEASE) && !last => {
                    self.lease = None;
                }
                answer => return answer.map(drop),
            }
        }
        Ok(())
    }

    pub(super) async fn etcd_renew(&mut self, pair: &Pair, lease: Duration) -> Result<(), Fault> {
        if let Some(id) = self.lease.clone() {
            if self.etcd(&etcd::keep_alive(&id)).await?.is_alive() {
                return Ok(());
            }
            self.lease = None;
        }
        self.etcd_put(pair, lease).await
    }

    pub(super) async fn etcd_add(&mut self, pair: &Pair) -> Result<(), Fault> {
        self.etcd(&etcd::add(pair)).await.map(drop)
    }

    pub(super) async fn etcd_set_all(
        &mut self,
        keys: &[(String, Option<String>)],
    ) -> Result<(), Fault> {
        self.etcd(&etcd::set_all(keys)).await.map(drop)
    }

    pub(super) async fn etcd_remove(&mut self, keys: &[String]) -> Result<(), Fault> {
        for key in keys {
            self.etcd(&etcd::delete(key)).await?;
        }
        Ok(())
    }

    /// Whatever comes of it: a lease that nobody keeps alive ends by itself.
    pub(super) async fn etcd_end_lease(&mut self) {
        if let Some(id) = self.lease.take() {
            let _ = self.etcd(&etcd::revoke(&id)).await;
        }
    }

    fn garbled<T>(&self) -> Result<T, Fault> {
        let how = "an answer to something else".to_owned();
        let server = self.addresses.get(self.good).copied();
        let server = server.unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        Err(Fault::Silent { server, how, lost: false })
    }

    async fn grant(&mut self, lease: Duration) -> Result<String, Fault> {
        let seconds = lease.as_secs() + u64::from(lease.subsec_nanos() > 0);
        let answer = self.etcd(&etcd::grant(seconds)).await?;
        match answer.granted() {
            Some(id) => Ok(self.lease.insert(id).clone()),
            None => self.garbled(),
        }
    }

    async fn etcd(&mut self, request: &Request) -> Result<Answer, Fault> {
        loop {
            let kept = self.line.is_some();
            let mut line = self.take_line().await?;
            match line.etcd(request).await {
                Ok((answer, keeps)) => {
                    self.line = keeps.then_some(line);
                    return Ok(answer);
                }
                // A token runs out after some minutes; a new connection gets a new one.
                Err(Fault::Refused { words, .. }) if kept && words.contains("auth token") => {}
                Err(fault) if self.give_up(&fault, kept) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
}

impl Line {
    /// Says who we are.
    pub(super) async fn etcd_hello(&mut self, store: &Store) -> Result<(), Fault> {
        if let Some(login) = &store.login {
            let request = etcd::authenticate(&login.user, &login.password);
            let (answer, _) = self.etcd(&request).await?;
            self.token = answer.token().map(str::to_owned);
            if self.token.is_none() {
                return self.garbled();
            }
        }
        Ok(())
    }

    /// Its answer, and whether another request may follow.
    async fn etcd(&mut self, (path, body): &Request) -> Result<(Answer, bool), Fault> {
        let (server, length) = (self.server, body.len());
        let token = self.token.as_ref().map(|token| format!("Authorization: {token}\r\n"));
        let token = token.unwrap_or_default();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {server}\r\n{token}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let stream = &mut *self.stream;
        let talk = async {
            let http = http::exchange(stream, request.as_bytes(), LONGEST).await?;
            Ok((Answer::parse(&http.body)?, http.keeps))
        };
        let (answer, keeps) = Self::in_time(server, talk).await?;
        match answer.refusal() {
            Some(words) => self.refused(words),
            None => Ok((answer, keeps)),
        }
    }
}
