//! The table of variables that users read in the README and in `--help`.

/// One environment variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The value that it has when unset, in the words of the README.
    pub default: &'static str,
    /// What it means, in one line.
    pub meaning: &'static str,
}

const fn v(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable that Berth reads, in the order in which people meet them.
pub const VARIABLES: &[Variable] = &[
    v(
        "HAPROXY_SERVER",
        "none: a plain init",
        "load balancers by comma: name, IP or unix:/path, each may carry :port; a name stands for all its addresses",
    ),
    v("HAPROXY_PORT", "9999", "port of the stats socket"),
    v("NODE_COUNT", "all", "slots 1…n of the template may be claimed"),
    v(
        "HAPROXY_BACKEND",
        "SERVICE_NAME, else the only one with slots",
        "backend that has the template",
    ),
    v("HAPROXY_NODE_PREFIX", "node", "prefix of the template's server names"),
    v("SERVICE_NAME", "none", "the service that this container belongs to"),
    v("APP_PORT", "the template's port", "port that the app listens on"),
    v("APP_ADDR", "found by itself", "address to advertise, if not the one that faces HAProxy"),
    v(
        "READY_CHECK",
        "tcp",
        "when the app can serve: tcp, http:/path, cmd:COMMAND, notify (sd_notify READY=1) or none",
    ),
    v("READY_INTERVAL", "2s", "time between two checks once the app is ready"),
    v("READY_TIMEOUT", "2s", "longest time that one check may take"),
    v("READY_RISE", "2", "successes in a row that make an unready app ready again"),
    v("READY_FALL", "3", "failures in a row that make a ready app unready"),
    v("SYNC_INTERVAL", "1s", "how often the slot is verified"),
    v("RECLAIM_AFTER", "30s", "a slot that HAProxy found DOWN for this long may be taken over"),
    v("DRAIN_TIMEOUT", "5s", "longest wait for sessions to end before the app is stopped"),
    v("STOP_TIMEOUT", "0: never", "SIGKILL this long after the stop signal"),
    v("STOP_SIGNALS", "TERM,INT,QUIT", "signals that ask the container to stop"),
    v("HAPROXY_TLS_CA", "none: no TLS", "PEM file: authorities of the stats socket's certificate"),
    v("HAPROXY_TLS_CERT", "none", "PEM file: our certificate, for mutual TLS"),
    v("HAPROXY_TLS_KEY", "none", "PEM file: the key of that certificate"),
    v(
        "DNS_SERVER",
        "none: no DNS",
        "servers by comma that take RFC 2136 updates of one zone, tried in this order; may carry :port",
    ),
    v("DNS_PORT", "53", "their port, and that of a primary found by DNS_ZONE"),
    v(
        "DNS_ZONE",
        "the server's zone for DNS_NAME",
        "zone to update; set without DNS_SERVER, its primary is found by its SOA record",
    ),
    v(
        "DNS_NAME",
        "SERVICE_NAME",
        "shared name, in the zone or absolute: one A or AAAA record for each container",
    ),
    v("DNS_TTL", "30", "time to live of the records in seconds"),
    v(
        "DNS_LEASE",
        "2m",
        "records of a container that died without a word are swept this long after; 0 = never",
    ),
    v(
        "DNS_NODE_NAME",
        "none",
        "a name that this container alone holds; may contain {slot} and {hostname}",
    ),
    v(
        "DNS_SRV",
        "none",
        "_service._proto: an SRV record below DNS_NAME, from the node's name and APP_PORT",
    ),
    v("DNS_PTR", "0", "1: a PTR record to the node's name, or DNS_NAME, in the reverse zone"),
    v("DNS_TSIG_KEYFILE", "none: not signed", "key file as tsig-keygen writes it"),
    v("DNS_TSIG_KEY", "none", "or the key itself: alg:name:base64"),
    v("DNS_TSIG_KEY_FILE", "none", "or a file that holds it in that form"),
    v("SIGNAL_GROUP", "0", "1: signal the app's whole process group"),
    v("SIGNAL_REWRITE", "none", "signals that reach the app as others: TERM:QUIT,HUP:USR1"),
    v("EXIT_REMAP", "none", "exit codes that leave as others: 143:0"),
    v("LOG_LEVEL", "info", "error, warn, info, debug or trace, on stderr"),
    v("LOG_FORMAT", "text", "text or json"),
];
