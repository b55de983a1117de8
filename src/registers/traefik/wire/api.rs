//! What Traefik's API says of a service.

use serde::Deserialize;

/// `GET /api/http/services/NAME@PROVIDER`, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Service {
    load_balancer: Servers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Servers {
    servers: Vec<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Server {
    url: String,
    address: String,
}

/// Whether the service has a server at `url`; `None` for what is no answer of this API.
pub(in crate::registers::traefik) fn shows(status: u16, body: &[u8], url: &str) -> Option<bool> {
    match status {
        200 => {
            let service: Service = serde_json::from_slice(body).ok()?;
            let at = |server: &Server| server.url == url || server.address == url;
            Some(service.load_balancer.servers.iter().any(at))
        }
        404 if body.starts_with(b"{\"message\":\"service not found") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_or_not_and_anything_else_says_nothing() {
        let http = br#"{"loadBalancer":{"servers":[{"url":"http://10.0.0.5:80"}],"strategy":"wrr"},"status":"enabled"}"#;
        let tcp = br#"{"loadBalancer":{"servers":[{"address":"10.0.0.5:80"}]}}"#;
        let empty = br#"{"loadBalancer":{"passHostHeader":true},"status":"enabled"}"#;
        let gone = b"{\"message\":\"service not found: web@redis\"}\n";
        assert_eq!(shows(200, http, "http://10.0.0.5:80"), Some(true));
        assert_eq!(shows(200, http, "http://10.0.0.5:81"), Some(false));
        assert_eq!(shows(200, tcp, "10.0.0.5:80"), Some(true));
        assert_eq!(shows(200, empty, "x"), Some(false));
        assert_eq!(shows(404, gone, "x"), Some(false));
        assert_eq!(shows(404, b"404 page not found\n", "x"), None);
        assert_eq!(shows(200, b"<html>", "x"), None);
        assert_eq!(shows(401, b"", "x"), None);
    }
}
