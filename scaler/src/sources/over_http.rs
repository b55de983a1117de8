//! What sources over HTTP have in common: an address, who asks, and certificates.

use std::time::Duration;

use anyhow::Result;

use crate::config::common::{client_tls, http_url, secret};
use crate::config::reader::{Fields, Value};
use crate::config::{ClientTls, Secret};
use crate::http::{Client, percent_encoded};

/// One address over HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpSource {
    /// `url`: of the server, or of the document; without the user, who is a secret.
    pub url: String,
    /// `parameters`, such as `dedup=true`: added to the URL's query.
    pub parameters: Vec<(String, String)>,
    /// `user:password` of the URL, sent as `Authorization: Basic …`.
    pub user: Option<Secret>,
    /// `token`: sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// `tls_ca`, `tls_cert`, `tls_key`; without `tls_ca` the public roots are trusted.
    pub tls: Option<ClientTls>,
}

impl HttpSource {
    /// Its URL with `path` added, its own query and its parameters.
    pub fn url_with(&self, path: &str) -> String {
        let url = self.url.split_once('#').map_or(self.url.as_str(), |(url, _)| url);
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let base = if path.is_empty() { base } else { base.trim_end_matches('/') };
        let own = Some(query.to_owned()).filter(|query| !query.is_empty());
        let given = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)));
        let query = own.into_iter().chain(given).collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}{path}{mark}{query}")
    }

    /// `url`, `parameters`, `token` and `tls_*`. `None` when something was wrong, which is then recorded.
    pub fn read(f: &Fields<'_>) -> Option<Self> {
        let url = f.req("url", "a URL such as \"http://10.0.0.5:9090\"", |v| http_url(v));
        let (token, tls) = (f.opt("token", secret), client_tls(f));
        let (url, user) = without_user(&url?);
        if user.is_some() && token.is_some() {
            f.error("token", "is one way to log in, the user in the url another: give one of them");
        }
        let pair = |v: Value<'_>| {
            let text = v.text()?;
            let (name, value) = text.split_once('=').ok_or_else(|| {
                format!("expected NAME=VALUE, such as \"dedup=true\", not {text:?}")
            })?;
            Ok((name.to_owned(), value.to_owned()))
        };
        let parameters = f.opt("parameters", |v| v.list(pair)).unwrap_or_default();
        Some(Self { url, parameters, user, token, tls })
    }

    /// Reads certificates; connects to nobody yet.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn client(&self, patience: Duration) -> Result<Client> {
        Client::new(self.tls.as_ref(), self.token.as_ref(), patience)?.with_user(self.user.as_ref())
    }
}

/// A URL that may be shown and kept, and `user:password` that stood in it.
fn without_user(url: &str) -> (String, Option<Secret>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => {
            let user = Secret(percent_decoded(user));
            (format!("{scheme}://{host}{}", &rest[end..]), Some(user))
        }
        None => (url.to_owned(), None),
    }
}

/// `%40` is `@`; what is not two hexadecimal digits stays.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.first_chunk::<2>().filter(|_| *first == b'%');
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_a_url_is_taken_out_and_decoded() {
        let (url, user) = without_user("https://me:p%40ss%zz@prom:9090/x@y?q");
        assert_eq!(
            (url.as_str(), user),
            ("https://prom:9090/x@y?q", Some(Secret("me:p@ss%zz".to_owned())))
        );
        assert_eq!(without_user("http://h/x@y"), ("http://h/x@y".to_owned(), None));
    }
}
