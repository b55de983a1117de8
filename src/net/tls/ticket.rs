//! One ticket for one server: all that is kept of a session.

use std::sync::{Mutex, PoisonError};

use tokio_rustls::rustls::NamedGroup;
use tokio_rustls::rustls::client::{
    ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use tokio_rustls::rustls::pki_types::ServerName;

/// The latest ticket only: a server sends a new one with every handshake, and each may be used once.
/// rustls' own store keeps eight, a few kilobytes each.
#[derive(Debug, Default)]
pub(super) struct Ticket(Mutex<(Option<NamedGroup>, Option<Tls13ClientSessionValue>)>);

impl Ticket {
    fn with<T>(
        &self,
        f: impl FnOnce(&mut (Option<NamedGroup>, Option<Tls13ClientSessionValue>)) -> T,
    ) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientSessionStore for Ticket {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.with(|kept| kept.0 = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(|kept| kept.0)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.with(|kept| kept.1 = Some(ticket));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|kept| kept.1.take())
    }
}
