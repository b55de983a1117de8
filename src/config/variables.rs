//! Every variable, once: its name, what it means, and what holds when it is not set. README's table,
//! `--help`, the struct that the environment is read into and the parsers' defaults are all made of it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub group: Group,
    /// What holds when it is not set.
    pub default: Unset,
    /// What it means, in one line.
    pub meaning: &'static str,
    id: Id,
}

/// What a variable is about, in the order in which people meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Claiming a slot; counts when `HAPROXY_SERVER` is set.
    Haproxy,
    /// The app, and when it can serve; counts when anything is registered.
    App,
    /// TLS to the stats socket; counts when `HAPROXY_SERVER` is set.
    Tls,
    /// Records in DNS; counts when `DNS_SERVER` or `DNS_ZONE` is set.
    Dns,
    /// Keys in the stores that Traefik reads; counts when `TRAEFIK_KV` is set.
    Traefik,
    /// The init, which there always is.
    Init,
    /// Lines on stderr.
    Log,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Haproxy => "HAProxy",
            Self::App => "App and readiness",
            Self::Tls => "TLS to the stats socket",
            Self::Dns => "DNS",
            Self::Traefik => "Traefik",
            Self::Init => "Init and stopping",
            Self::Log => "Log",
        })
    }
}

/// What holds when a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// The same as if it had this value.
    Value(&'static str),
    /// Something that no value says.
    Words(&'static str),
}

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Value(text) | Self::Words(text)) = self;
        f.write_str(text)
    }
}

macro_rules! variables {
    ($($group:ident { $($field:ident $NAME:ident $default:expr, $meaning:literal;)* })*) => {
        /// The names below, as they come out of the environment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(field_identifier)]
        #[allow(non_camel_case_types, reason = "serde takes the names from here")]
        enum Id {
            $($($field,)*)*
        }

        $($(
            #[doc = $meaning]
            pub(super) const $NAME: Variable = Variable {
                name: stringify!($NAME),
                group: Group::$group,
                default: $default,
                meaning: $meaning,
                id: Id::$field,
            };
        )*)*

        /// Every variable that Berth reads.
        pub const VARIABLES: &[Variable] = &[$($($NAME,)*)*];
    };
}

/// What the environment holds under the names below. Not a struct of as many fields, whose derived
/// parser would be 39 kB.
#[derive(Debug, Default)]
pub(super) struct Raw(Vec<(Id, String)>);

impl Raw {
    /// The value of a variable that is set.
    pub(super) fn value(&self, variable: &Variable) -> Option<&str> {
        let (_, value) = self.0.iter().rfind(|(id, _)| *id == variable.id)?;
        Some(value)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Raw {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables by name")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut given: A) -> Result<Self, A::Error> {
        while let Some(entry) = given.next_entry()? {
            self.0.push(entry);
        }
        Ok(self)
    }
}

use Unset::{Value, Words};

variables! {
    Haproxy {
        haproxy_server HAPROXY_SERVER Words("none: a plain init"),
            "load balancers by comma: name, IP or unix:/path, each may carry :port; a name stands for all its addresses";
        haproxy_port HAPROXY_PORT Value("9999"),
            "port of the stats socket";
        node_count NODE_COUNT Words("all"),
            "only the first n slots of the template may be claimed";
        haproxy_backend HAPROXY_BACKEND Words("SERVICE_NAME; without it the only one with slots"),
            "backend that has the template";
        haproxy_node_prefix HAPROXY_NODE_PREFIX Value("node"),
            "prefix of the template's server names";
        reclaim_after RECLAIM_AFTER Value("30s"),
            "a slot that was seen DOWN for this long may be taken over";
    }
    App {
        service_name SERVICE_NAME Words("none"),
            "the service that this container belongs to";
        app_port APP_PORT Words("the template's port"),
            "port that the app is served on, which HAProxy connects to";
        app_addr APP_ADDR Words("found by itself"),
            "address to advertise, if not the one that faces HAProxy";
        ready_check READY_CHECK Value("tcp"),
            "when the app can serve: tcp, tcp:PORT, http:/path, http:PORT/path, http://HOST/path, cmd:COMMAND, notify (sd_notify READY=1) or none";
        ready_port READY_PORT Words("the app's port"),
            "port that tcp and http:/path check, if the app listens on another than the one it is served on";
        ready_interval READY_INTERVAL Value("2s"),
            "time between two checks once the app is ready";
        ready_timeout READY_TIMEOUT Value("2s"),
            "longest time that one check may take";
        ready_rise READY_RISE Value("2"),
            "successes in a row that make an unready app ready again";
        ready_fall READY_FALL Value("3"),
            "failures in a row that make a ready app unready";
        sync_interval SYNC_INTERVAL Value("1s"),
            "how often the slot in HAProxy, and the key for Traefik, is verified";
        drain_timeout DRAIN_TIMEOUT Value("5s"),
            "longest wait for sessions to end before the app is stopped";
    }
    Tls {
        haproxy_tls_ca HAPROXY_TLS_CA Words("none: no TLS"),
            "PEM file: authorities of the stats socket's certificate";
        haproxy_tls_cert HAPROXY_TLS_CERT Words("none"),
            "PEM file: our certificate, for mutual TLS";
        haproxy_tls_key HAPROXY_TLS_KEY Words("none"),
            "PEM file: the key of that certificate";
    }
    Dns {
        dns_server DNS_SERVER Words("none: no DNS"),
            "servers by comma that take RFC 2136 updates of one zone, tried in this order; may carry :port";
        dns_port DNS_PORT Value("53"),
            "their port, and that of a primary found by DNS_ZONE";
        dns_zone DNS_ZONE Words("the server's zone for DNS_NAME"),
            "zone to update; set without DNS_SERVER, its primary is found by its SOA record";
        dns_name DNS_NAME Words("SERVICE_NAME"),
            "shared name, in the zone or absolute: one A or AAAA record for each container";
        dns_ttl DNS_TTL Value("30"),
            "time to live of the records in seconds";
        dns_lease DNS_LEASE Value("2m"),
            "records of a container that died without a word are swept this long after; 0 = never";
        dns_node_name DNS_NODE_NAME Words("none"),
            "a name that this container alone holds; may contain {slot} and {hostname}";
        dns_srv DNS_SRV Words("none"),
            "_service._proto: an SRV record below DNS_NAME, from the node's name and APP_PORT";
        dns_ptr DNS_PTR Value("0"),
            "1: a PTR record to the node's name, or DNS_NAME, in the reverse zone";
        dns_tsig_keyfile DNS_TSIG_KEYFILE Words("none: not signed"),
            "key file as tsig-keygen writes it";
        dns_tsig_key DNS_TSIG_KEY Words("none"),
            "or the key itself: alg:name:base64";
        dns_tsig_key_file DNS_TSIG_KEY_FILE Words("none"),
            "or a file that holds it in that form";
    }
    Traefik {
        traefik_kv TRAEFIK_KV Words("none: no Traefik"),
            "stores by comma: redis://[user:password@]host[:port][/db], etcd://[user:password@]host[:port]; rediss and etcds over TLS";
        traefik_service TRAEFIK_SERVICE Words("SERVICE_NAME"),
            "service in Traefik that the container is a server of";
        traefik_scheme TRAEFIK_SCHEME Value("http"),
            "how Traefik speaks to the app: http, https, h2c or tcp";
        traefik_root TRAEFIK_ROOT Value("traefik"),
            "root of Traefik's keys, its providers' rootkey";
        traefik_lease TRAEFIK_LEASE Value("15s"),
            "a container that died without a word is gone so long after";
        traefik_drain TRAEFIK_DRAIN Value("2200ms"),
            "time that the app serves on after its key is gone: Traefik's providersThrottleDuration (2s) and what a request takes";
        traefik_api TRAEFIK_API Words("none: TRAEFIK_DRAIN is waited"),
            "Traefiks by comma that say when no more requests come: host[:port] of the API (8080)";
        traefik_rule TRAEFIK_RULE Words("none: the route is configured elsewhere"),
            "registers a route to the service: Host(`example.com`)";
        traefik_entrypoints TRAEFIK_ENTRYPOINTS Words("Traefik's default"),
            "entry points of that route, by comma";
        traefik_password TRAEFIK_PASSWORD Words("none"),
            "password for the stores whose URL has none";
        traefik_password_file TRAEFIK_PASSWORD_FILE Words("none"),
            "or a file that holds it";
        traefik_tls_ca TRAEFIK_TLS_CA Words("none"),
            "PEM file: authorities of the stores' certificates, for rediss and etcds";
        traefik_tls_cert TRAEFIK_TLS_CERT Words("none"),
            "PEM file: our certificate, for mutual TLS";
        traefik_tls_key TRAEFIK_TLS_KEY Words("none"),
            "PEM file: the key of that certificate";
    }
    Init {
        stop_timeout STOP_TIMEOUT Value("0"),
            "SIGKILL this long after the stop signal; 0 = never";
        stop_signals STOP_SIGNALS Value("TERM,INT,QUIT"),
            "signals that ask the container to stop";
        signal_group SIGNAL_GROUP Value("0"),
            "1: signal the app's whole process group";
        signal_rewrite SIGNAL_REWRITE Words("none"),
            "signals that reach the app as others: TERM:QUIT,HUP:USR1";
        exit_remap EXIT_REMAP Words("none"),
            "exit codes that leave as others: 143:0";
    }
    Log {
        log_level LOG_LEVEL Value("info"),
            "error, warn, info, debug or trace, on stderr";
        log_format LOG_FORMAT Value("text"),
            "text or json";
    }
}
