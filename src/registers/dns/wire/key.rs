//! TSIG keys, from a BIND key file or from one line of text.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use domain::base::name::ToName;
use domain::tsig::{self, Algorithm, AlgorithmError};
use domain::utils::base64;

use super::name;

/// What is accepted, for messages.
const ALGORITHMS: &str = "hmac-sha256, hmac-sha384 or hmac-sha512";

/// A key shared with the server (RFC 8945). Its secret never shows in its `Debug`, and can no longer be
/// read out of it.
#[derive(Clone)]
pub struct Key {
    pub(crate) tsig: Arc<tsig::Key>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {}, redacted)", self.tsig.name(), self.tsig.algorithm())
    }
}

impl Key {
    /// Parses `alg:name:base64`. What is wrong is a complaint that never quotes the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':').map(str::trim);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(algorithm), Some(name), Some(secret)) => Self::new(algorithm, name, secret),
            _ => Err(format!("is not alg:name:base64, with {ALGORITHMS} as alg")),
        }
    }

    /// Parses a file as `tsig-keygen` writes it: one `key` clause of named.conf.
    pub fn parse_file(text: &str) -> Result<Self, String> {
        let mut tokens = Tokens(text.chars().peekable());
        if tokens.next().as_deref() != Some("key") {
            return Err("has no key clause, expected a file as tsig-keygen writes it".to_owned());
        }
        let name = tokens.word("the name of the key")?;
        tokens.expect("{")?;
        let (mut algorithm, mut secret) = (None, None);
        loop {
            match tokens.next().as_deref() {
                Some("algorithm") => algorithm = Some(tokens.word("an algorithm")?),
                Some("secret") => secret = Some(tokens.word("a secret in base64")?),
                Some("}") => break,
                _ => return Err("has something else than algorithm and secret in it".to_owned()),
            }
            tokens.expect(";")?;
        }
        if tokens.any(|token| token == "key") {
            return Err("has more than one key, expected one".to_owned());
        }
        match (algorithm, secret) {
            (Some(algorithm), Some(secret)) => Self::new(&algorithm, &name, &secret),
            (None, _) => Err("has a key without an algorithm".to_owned()),
            (_, None) => Err("has a key without a secret".to_owned()),
        }
    }

    fn new(algorithm: &str, key_name: &str, secret: &str) -> Result<Self, String> {
        let algorithm = self::algorithm(algorithm)?;
        let name = name::zone(key_name).map_err(|why| format!("has a key whose name {why}"))?;
        let secret = base64::decode::<Vec<u8>>(secret)
            .ok()
            .filter(|secret| !secret.is_empty())
            .ok_or("has a key whose secret is not valid base64")?;
        let unusable = |error: &dyn fmt::Display| format!("has a key that cannot be used: {error}");
        let name = name.try_to_name().map_err(|error| unusable(&error))?;
        let key = tsig::Key::new(algorithm, &secret, name, None, None);
        let tsig = Arc::new(key.map_err(|error| unusable(&error))?);
        Ok(Self { tsig })
    }
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let lower = text.trim_end_matches('.').to_ascii_lowercase();
    if lower.starts_with("hmac-md5") || lower == "hmac-sha1" || lower == "hmac-sha224" {
        return Err(format!(
            "has a key for {lower}, which is too weak: expected {ALGORITHMS} \
             (tsig-keygen -a hmac-sha256 NAME makes one)"
        ));
    }
    let unknown =
        |_: AlgorithmError| format!("has a key for an unknown algorithm, expected {ALGORITHMS}");
    lower.parse().map_err(unknown)
}

/// Words, quoted strings and punctuation of named.conf, without its comments.
struct Tokens<'a>(Peekable<Chars<'a>>);

impl Tokens<'_> {
    fn word(&mut self, what: &str) -> Result<String, String> {
        let word = self.next().filter(|token| !["{", "}", ";"].contains(&token.as_str()));
        word.ok_or_else(|| format!("has a key clause that lacks {what}"))
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        match self.next() {
            Some(found) if found == token => Ok(()),
            _ => Err(format!("has a key clause that lacks a '{token}'")),
        }
    }

    fn skip_past(&mut self, end: &str) {
        let (mut before, last) = (None, end.chars().last());
        for c in self.0.by_ref() {
            if Some(c) == last && (end.len() == 1 || before == end.chars().next()) {
                return;
            }
            before = Some(c);
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let first = self.0.next()?;
            match (first, self.0.peek()) {
                ('#', _) | ('/', Some('/')) => self.skip_past("\n"),
                ('/', Some('*')) => {
                    self.0.next();
                    self.skip_past("*/");
                }
                ('{' | '}' | ';', _) => return Some(first.to_string()),
                ('"', _) => return Some(self.0.by_ref().take_while(|c| *c != '"').collect()),
                (c, _) if c.is_whitespace() => {}
                _ => {
                    let mut word = String::from(first);
                    let in_word = |c: &char| !c.is_whitespace() && !"{};\"#".contains(*c);
                    while let Some(c) = self.0.next_if(in_word) {
                        word.push(c);
                    }
                    return Some(word);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0";

    #[test]
    fn the_file_of_tsig_keygen() {
        for text in [
            "key \"berth-key\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0c2VjcmV0c2VjcmV0\";\n};\n",
            "# made by hand\n// or not\nkey berth-key. { /* any ; order */ secret c2VjcmV0c2VjcmV0c2VjcmV0;algorithm HMAC-SHA256;};",
        ] {
            let key = Key::parse_file(text).unwrap();
            assert_eq!(key.tsig.name().to_string(), "berth-key");
            assert_eq!(key.tsig.algorithm(), Algorithm::Sha256);
        }
    }

    #[test]
    fn the_line_form() {
        for algorithm in ["hmac-sha256", "hmac-sha384", "HMAC-SHA512"] {
            let key = Key::parse(&format!("{algorithm}:berth-key:{SECRET}")).unwrap();
            assert_eq!(key.tsig.algorithm().to_string(), algorithm.to_ascii_lowercase());
        }
    }

    #[test]
    fn complaints_say_what_is_wrong_and_never_the_secret() {
        for (text, want) in [
            (format!("hmac-md5:k:{SECRET}"), "hmac-md5, which is too weak"),
            (format!("hmac-md5.sig-alg.reg.int:k:{SECRET}"), "too weak"),
            (format!("hmac-sha1:k:{SECRET}"), "hmac-sha1, which is too weak: expected hmac-sha256"),
            (format!("k:{SECRET}"), "is not alg:name:base64"),
            (SECRET.to_owned(), "is not alg:name:base64"),
            (format!("sha256:k:{SECRET}"), "unknown algorithm"),
            (format!("{SECRET}:k:hmac-sha256"), "unknown algorithm"),
            (format!("hmac-sha256:k k:{SECRET}"), "whose name is 'k k'"),
            (format!("hmac-sha256:k:{SECRET}!"), "not valid base64"),
            ("hmac-sha256:k:".to_owned(), "not valid base64"),
        ] {
            let error = Key::parse(&text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
            assert!(!error.contains(SECRET), "{error}");
        }
        for (text, want) in [
            ("", "has no key clause"),
            ("Private-key-format: v1.3\nAlgorithm: 163\nKey: c2VjcmV0\n", "has no key clause"),
            ("key k { algorithm hmac-sha256; };", "without a secret"),
            ("key k { secret c2VjcmV0; };", "without an algorithm"),
            ("key k { algorithm hmac-sha256 secret c2VjcmV0; };", "lacks a ';'"),
            ("key k algorithm hmac-sha256;", "lacks a '{'"),
            ("key { algorithm hmac-sha256; };", "lacks the name"),
            ("key k { algorithm hmac-sha1; secret c2VjcmV0; };", "too weak"),
            ("key k { algorithm hmac-sha256; secret \"c2VjcmV0", "lacks a ';'"),
            ("key k { c2VjcmV0", "something else than"),
            ("key k { algorithm hmac-sha256; secret c2VjcmV0; }; key j { };", "more than one key"),
        ] {
            let error = Key::parse_file(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
            assert!(!error.contains("c2VjcmV0"), "{error}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let key = Key::parse(&format!("hmac-sha256:k:{SECRET}")).unwrap();
        assert_eq!(format!("{key:?}"), "Key(k, hmac-sha256, redacted)");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_complained_about(text in "(?s).{0,200}", inner in "[a-z0-9\"{};#/* \n-]{0,80}") {
            let _ = Key::parse(&text);
            let _ = Key::parse_file(&text);
            let _ = Key::parse_file(&format!("key k {{ {inner}"));
        }
    }
}
