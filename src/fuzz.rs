//! Whatever parses bytes from outside, as functions that take any bytes and check what must hold of
//! the outcome. The tests below try a fixed number of inputs; `scripts/fuzz.sh` as many as there is
//! time for.

use std::ffi::OsString;

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use crate::config::{Config, VARIABLES};
use crate::net::target::Target;
use crate::registers::haproxy::wire::codec::ReplyCodec;
use crate::registers::haproxy::wire::server;
use crate::registers::haproxy::{Process, ServerStat, StatTable};

/// A parser and inputs to start from.
pub type Surface = (&'static str, fn(&[u8]), &'static [&'static [u8]]);

macro_rules! seeds {
    ($($file:literal),* $(,)?) => {
        &[$(include_bytes!(concat!("../fuzz/seeds/", $file))),*]
    };
}

/// Every parser, by the name of its fuzz target.
pub const SURFACES: &[Surface] = &[
    ("stats_socket", stats_socket, seeds!["stats_socket/state", "stats_socket/stat"]),
    ("readiness", readiness, seeds!["readiness/http", "readiness/notify"]),
    ("environment", environment, seeds!["environment/all"]),
    ("resolver", resolver, seeds!["resolver/files", "resolver/answer", "resolver/alias"]),
    ("dns", dns, seeds!["dns/soa", "dns/signed", "dns/key", "dns/lease"]),
    ("traefik", traefik, seeds!["traefik/redis", "traefik/http", "traefik/etcd", "traefik/api"]),
];

/// What an HAProxy may answer.
pub fn stats_socket(data: &[u8]) {
    const BUDGET: usize = 8192;
    let (mut codec, mut buffer, mut taken) = (ReplyCodec::new(BUDGET), BytesMut::new(), 0);
    for chunk in data.chunks(1 + usize::from(data.first().copied().unwrap_or(0))) {
        buffer.extend_from_slice(chunk);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(reply)) => {
                    taken += reply.len();
                    tables(&reply);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(taken + buffer.len() <= BUDGET, "an answer without an end is cut");
    }
}

fn tables(reply: &str) {
    match server::parse(reply) {
        Ok(servers) => {
            for server in &servers {
                assert!(server.port != Some(0));
                assert!(server.slot_number(&server.name).is_none(), "a name that is no number");
            }
        }
        Err(error) => assert!(error.to_string().len() < 2000, "an error quotes little"),
    }
    if let Ok(table) = StatTable::parse(reply) {
        for row in table.rows() {
            let _ = (row.text("svname"), row.number("scur"));
        }
    }
    let _ = Process::parse(reply);
    if let Ok(Some(stat)) = ServerStat::parse(reply) {
        let _ = stat.work();
    }
}

/// What an app may answer to a check, or say by itself.
pub fn readiness(data: &[u8]) {
    crate::container::readiness::fuzz(data);
}

/// Variables, one `NAME=VALUE` a line; those that name files are left out.
pub fn environment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let of_files = |name: &str| name.contains("FILE") || name.contains("TLS");
    let vars = text.lines().filter_map(|line| line.split_once('='));
    let vars: Vec<_> = vars.filter(|(name, _)| !of_files(name)).collect();
    let given = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match Config::from_vars(given) {
        Ok(config) => {
            for target in config.container.haproxy.iter().flat_map(|haproxy| &haproxy.servers) {
                let text = target.to_string();
                assert_eq!(Target::parse(&text, 1).as_ref(), Some(target), "{text}");
            }
        }
        Err(error) => {
            for line in &error.0 {
                let named = |name: &str| line.starts_with(name);
                assert!(VARIABLES.iter().any(|variable| named(variable.name)), "{line}");
            }
        }
    }
}

/// What name servers may answer, and resolv.conf and the hosts file may hold.
pub fn resolver(data: &[u8]) {
    crate::net::resolve::fuzz(data);
}

/// What a server may answer to updates, and key files may hold.
pub fn dns(data: &[u8]) {
    crate::registers::dns::fuzz(data);
}

/// What the stores of Traefik's, and its API, may answer.
pub fn traefik(data: &[u8]) {
    #[cfg(feature = "traefik")]
    {
        crate::net::http::fuzz(data);
        crate::registers::traefik::fuzz(data);
    }
    let _ = data;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Edit {
        Set(usize, u8),
        Remove(usize),
        Insert(usize, Vec<u8>),
        Cut(usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let telling = b"\n\0 :,=-.\"'09\xff\xc0".to_vec();
        let byte = prop_oneof![any::<u8>(), prop::sample::select(telling)];
        let bytes = prop::collection::vec(byte.clone(), 1..20);
        prop_oneof![
            4 => (any::<usize>(), byte).prop_map(|(at, byte)| Edit::Set(at, byte)),
            2 => any::<usize>().prop_map(Edit::Remove),
            2 => (any::<usize>(), bytes).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
            1 => any::<usize>().prop_map(Edit::Cut),
        ]
    }

    fn edited(seed: &[u8], edits: &[Edit]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for edit in edits {
            let end = bytes.len();
            match edit {
                _ if end == 0 => {}
                Edit::Set(at, byte) => bytes[at % end] = *byte,
                Edit::Remove(at) => drop(bytes.remove(at % end)),
                Edit::Insert(at, more) => drop(bytes.splice(at % end..at % end, more.clone())),
                Edit::Cut(at) => bytes.truncate(at % end),
            }
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn almost_good_input_breaks_nothing(
            which in any::<prop::sample::Index>(),
            edits in prop::collection::vec(edit(), 0..12),
        ) {
            for (_, parse, seeds) in SURFACES {
                parse(&edited(seeds[which.index(seeds.len())], &edits));
            }
        }

        #[test]
        fn no_bytes_break_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            SURFACES.iter().for_each(|(_, parse, _)| parse(&bytes));
        }
    }
}
