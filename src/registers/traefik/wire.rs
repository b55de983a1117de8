//! Bytes and types: what the stores and Traefik's API say. Pure.

pub(super) mod api;
pub(super) mod etcd;
pub(super) mod keys;
pub(super) mod resp;
