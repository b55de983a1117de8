//! The `DNS_…` variables.

use crate::config::{Env, Target, value};

/// Where and what to register in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Server that takes the updates.
    pub server: Option<Target>,
    /// Zone to update.
    pub zone: Option<String>,
}

impl DnsConfig {
    /// Parses the variables; `None` when neither `DNS_SERVER` nor `DNS_ZONE` is set.
    pub fn parse(env: &mut Env, _service_name: Option<&str>) -> Option<Self> {
        let server = env.parse_if(
            "DNS_SERVER",
            "a host name or IP address with an optional :port",
            |text| Target::parse(text, 53).filter(|target| !matches!(target, Target::Unix(_))),
        );
        let zone = env.text("DNS_ZONE");
        env.text("DNS_NAME");
        env.parse_if("DNS_TTL", value::COUNT, value::count);
        env.path("DNS_TSIG_KEYFILE");
        env.secret("DNS_TSIG_KEY", "DNS_TSIG_KEY_FILE");
        (server.is_some() || zone.is_some()).then_some(Self { server, zone })
    }
}
