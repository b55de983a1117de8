//! Registration for Traefik, by way of the key-value stores that it reads: etcd and Redis. Reading order:
//! [`settings`], `wire`, `client`, `api`, `phase`, `registrar`.

mod api;
mod client;
mod fault;
mod phase;
mod registrar;
pub mod settings;
mod status;
mod wire;

pub use registrar::run;
pub use settings::{Scheme, Settings, Store};
pub use status::{KeyStatus, status};

/// Variables that hold a secret, which the app must not inherit.
pub const SECRETS: &[&str] = &["TRAEFIK_KV", "TRAEFIK_PASSWORD"];

/// Parses any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    use tokio_util::codec::Decoder;
    use wire::{api, etcd::Answer, resp::Replies};
    let mut buffer = bytes::BytesMut::from(data);
    while let Ok(Some(_)) = Replies.decode(&mut buffer) {}
    if let Ok(answer) = Answer::parse(data) {
        let _ = (answer.refusal(), answer.found(), answer.parts(), answer.is_alive());
        for text in [answer.granted(), answer.token().map(str::to_owned)].into_iter().flatten() {
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
        }
    }
    let _ = api::shows(200, data, "http://10.0.0.5:80");
    if let Some(store) = Store::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(Store::parse(&store.to_string()).map(|again| again.target), Some(store.target));
    }
}
