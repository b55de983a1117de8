//! Asks for it.

use std::net::{IpAddr, SocketAddr};

use super::KeyStatus;
use crate::net::resolve::Resolver;
use crate::registers::traefik::api::{Api, Shown};
use crate::registers::traefik::client::Client;
use crate::registers::traefik::fault::Fault;
use crate::registers::traefik::phase::Rules;
use crate::registers::traefik::settings::{Settings, Store};

/// Asks a store, and the Traefiks that `TRAEFIK_API` names. `port` is the app's, as far as it is known.
pub async fn status(
    store: Store,
    settings: Settings,
    port: Option<u16>,
    resolver: Resolver,
) -> KeyStatus {
    let mut status = KeyStatus {
        store: store.to_string(),
        service: settings.service.clone(),
        ..KeyStatus::default()
    };
    if let Err(fault) = fill(&mut status, store, settings, port, resolver).await {
        status.error = Some(format!("{fault} ({})", fault.advice()));
    }
    status
}

async fn fill(
    status: &mut KeyStatus,
    store: Store,
    settings: Settings,
    port: Option<u16>,
    resolver: Resolver,
) -> Result<(), Fault> {
    let rules = Rules::new(&settings);
    let path = rules.keys.api_path(store.kind.provider());
    let mut client = Client::new(store, &settings, resolver.clone());
    let addr: IpAddr = match settings.app_addr {
        Some(addr) => addr,
        None => client.local().await?,
    };
    let Some(port) = port else {
        status.error = Some("the app's port is not known: set APP_PORT".to_owned());
        return Ok(());
    };
    let at = SocketAddr::new(addr, port);
    status.address = Some(at);
    let (key, url) = rules.keys.server(at);
    let found = client.read(&[&key]).await?.into_iter().next().flatten();
    status.answered = true;
    status.registered = found.is_some_and(|found| found.value == url);
    if rules.has_api {
        match Api::new(settings.api, path, resolver).shows(&url).await {
            Shown::Yes => status.taken_up = Some(true),
            Shown::No => status.taken_up = Some(false),
            Shown::Silent(why) => status.error = Some(format!("TRAEFIK_API: {why}")),
        }
    }
    Ok(())
}
