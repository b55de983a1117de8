//! Signing requests and verifying answers with a shared key (RFC 8945).
//!
//! Our own because the library's takes the server's signed complaint about the clock for a forgery,
//! and that complaint is what an operator needs to see. The primitives are ring's.

use std::fmt;

use domain::base::iana::{Class, Rtype, TsigRcode};
use domain::base::name::ToName;
use domain::base::{Message, ParsedName, Record};
use domain::rdata::tsig::Tsig;
use ring::hmac;

use super::key::{Algorithm, Key};
use super::name::DnsName;

/// How far two clocks may be apart, in seconds (RFC 8945 section 10 recommends it).
const FUDGE: u16 = 300;

/// Why an answer cannot be trusted, or what the server finds wrong with our signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TsigFault {
    /// The answer carries no signature.
    Unsigned,
    /// The server's word, unsigned itself and so no proof: BADKEY, BADSIG, BADTRUNC.
    Server(TsigRcode),
    /// The clocks differ: seconds since 1970 here and there, the server's by its signed word.
    BadTime { here: u64, there: u64 },
    /// The signature is of another key or does not fit.
    Forged,
    /// The signature cannot be read.
    Malformed,
}

impl fmt::Display for TsigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("answers without a signature"),
            Self::Server(code) => write!(f, "says {code} to our signature"),
            Self::BadTime { here, there } => {
                let (gap, way) =
                    (here.abs_diff(*there), if here < there { "behind" } else { "ahead" });
                let (here, there) = (Utc(*here), Utc(*there));
                write!(f, "says BADTIME: it is {there} there and {here} here, {gap} s {way}")
            }
            Self::Forged => f.write_str("answers with a signature that is not by our key"),
            Self::Malformed => f.write_str("answers with a signature that makes no sense"),
        }
    }
}

/// Signs a request in place at `now`, in seconds since 1970; returns the signature, to which the
/// answer's refers.
pub(crate) fn sign(request: &mut Vec<u8>, key: &Key, now: u64) -> Vec<u8> {
    let variables = Variables { time: now, fudge: FUDGE, error: 0, other: &[] };
    let mac = variables.mac(request.clone(), key);
    append(request, key, &variables, &mac);
    mac
}

/// Puts a signature on a message, which has at least a header.
fn append(message: &mut Vec<u8>, key: &Key, variables: &Variables<'_>, mac: &[u8]) {
    let mut rdata = canonical(&algorithm_name(key.algorithm));
    rdata.extend(variables.time_and_fudge());
    rdata.extend((mac.len() as u16).to_be_bytes());
    rdata.extend(mac);
    rdata.extend(&message[..2]);
    rdata.extend(variables.error.to_be_bytes());
    rdata.extend((variables.other.len() as u16).to_be_bytes());
    rdata.extend(variables.other);
    let additional = u16::from_be_bytes([message[10], message[11]]).wrapping_add(1);
    message[10..12].copy_from_slice(&additional.to_be_bytes());
    message.extend(key.name.as_slice());
    message.extend(Rtype::TSIG.to_int().to_be_bytes());
    message.extend(Class::ANY.to_int().to_be_bytes());
    message.extend([0; 4]);
    message.extend((rdata.len() as u16).to_be_bytes());
    message.extend(rdata);
}

/// Verifies the answer to a request that was signed with `mac`, at `now` in seconds since 1970.
pub(crate) fn verify(answer: &[u8], key: &Key, mac: &[u8], now: u64) -> Result<(), TsigFault> {
    let message = Message::from_slice(answer).map_err(|_| TsigFault::Malformed)?;
    let (start, record) = find(message)?.ok_or(TsigFault::Unsigned)?;
    let tsig = record.data();
    let error = tsig.error();
    if tsig.mac().is_empty() && error != TsigRcode::NOERROR {
        return Err(TsigFault::Server(error));
    }
    let ours = *record.owner() == key.name && *tsig.algorithm() == algorithm_name(key.algorithm);
    if !ours || record.class() != Class::ANY {
        return Err(TsigFault::Forged);
    }
    let time = u64::from(tsig.time_signed());
    let variables =
        Variables { time, fudge: tsig.fudge(), error: error.to_int(), other: tsig.other() };
    // The message as it was before the signature was put on.
    let mut unsigned = answer[..start].to_vec();
    unsigned[..2].copy_from_slice(&tsig.original_id().to_be_bytes());
    let additional = message.header_counts().arcount().wrapping_sub(1);
    unsigned[10..12].copy_from_slice(&additional.to_be_bytes());
    let mut signed = after(mac, &unsigned);
    variables.collect(key, &mut signed);
    hmac::verify(&hmac_key(key), &signed, tsig.mac()).map_err(|_| TsigFault::Forged)?;

    if error == TsigRcode::BADTIME
        && let Ok(there) = <[u8; 6]>::try_from(*tsig.other())
    {
        return Err(TsigFault::BadTime { here: time, there: from_48_bits(there) });
    }
    if error != TsigRcode::NOERROR {
        return Err(TsigFault::Server(error));
    }
    match now.abs_diff(time) > u64::from(tsig.fudge()) {
        true => Err(TsigFault::BadTime { here: now, there: time }),
        false => Ok(()),
    }
}

/// An answer is signed together with its request's signature.
fn after(mac: &[u8], answer: &[u8]) -> Vec<u8> {
    [&(mac.len() as u16).to_be_bytes(), mac, answer].concat()
}

type Found<'a> = Record<ParsedName<&'a [u8]>, Tsig<&'a [u8], ParsedName<&'a [u8]>>>;

/// The TSIG record, which must be the last of all, and where it starts.
fn find(message: &Message<[u8]>) -> Result<Option<(usize, Found<'_>)>, TsigFault> {
    let mut additional = message.additional().map_err(|_| TsigFault::Malformed)?;
    loop {
        let start = additional.pos();
        let Some(record) = additional.next() else { return Ok(None) };
        let record = record.map_err(|_| TsigFault::Malformed)?;
        if record.rtype() == Rtype::TSIG {
            let tsig = record.into_record::<Tsig<_, _>>().ok().flatten();
            return match (tsig, additional.next()) {
                (Some(tsig), None) => Ok(Some((start, tsig))),
                _ => Err(TsigFault::Malformed),
            };
        }
    }
}

/// What is signed besides the message (RFC 8945 section 4.3.3).
struct Variables<'a> {
    time: u64,
    fudge: u16,
    error: u16,
    other: &'a [u8],
}

impl Variables<'_> {
    fn mac(&self, mut signed: Vec<u8>, key: &Key) -> Vec<u8> {
        self.collect(key, &mut signed);
        hmac::sign(&hmac_key(key), &signed).as_ref().to_vec()
    }

    fn collect(&self, key: &Key, bytes: &mut Vec<u8>) {
        bytes.extend(canonical(&key.name));
        bytes.extend(Class::ANY.to_int().to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(canonical(&algorithm_name(key.algorithm)));
        bytes.extend(self.time_and_fudge());
        bytes.extend(self.error.to_be_bytes());
        bytes.extend((self.other.len() as u16).to_be_bytes());
        bytes.extend(self.other);
    }

    fn time_and_fudge(&self) -> [u8; 8] {
        ((self.time << 16) | u64::from(self.fudge)).to_be_bytes()
    }
}

fn from_48_bits(octets: [u8; 6]) -> u64 {
    octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

fn hmac_key(key: &Key) -> hmac::Key {
    let algorithm = match key.algorithm {
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha384 => hmac::HMAC_SHA384,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::Key::new(algorithm, &key.secret)
}

fn algorithm_name(algorithm: Algorithm) -> DnsName {
    DnsName::vec_from_str(algorithm.name()).unwrap_or_else(|_| DnsName::root_vec())
}

/// The wire form in lower case (RFC 4034 section 6.2).
fn canonical(name: &DnsName) -> Vec<u8> {
    name.to_canonical_name::<Vec<u8>>().into_octets()
}

/// Seconds since 1970 as people read them: `2026-11-23T23:59:07Z`.
struct Utc(u64);

impl fmt::Display for Utc {
    /// Days to dates by the usual shift of the year's start to March, so that leap days come last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day_of_month = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::resolve::question;
    use proptest::prelude::*;

    const NOW: u64 = 1_795_477_312;

    fn key(algorithm: &str, name: &str) -> Key {
        Key::parse(&format!("{algorithm}:{name}:c2VjcmV0c2VjcmV0")).unwrap()
    }

    fn request() -> Vec<u8> {
        question(&DnsName::vec_from_str("webapp.example.com").unwrap(), Rtype::A, 0x1234)
    }

    /// The answer to a request with `mac`, as a server signs it at `time`.
    fn answer(key: &Key, mac: &[u8], time: u64, error: TsigRcode, other: &[u8]) -> Vec<u8> {
        let mut answer = request();
        answer[2] |= 0x80;
        let variables = Variables { time, fudge: FUDGE, error: error.to_int(), other };
        let mac = variables.mac(after(mac, &answer), key);
        append(&mut answer, key, &variables, &mac);
        answer
    }

    #[test]
    fn an_answer_is_believed_when_its_signature_fits_the_request_and_the_time() {
        for algorithm in ["hmac-sha256", "hmac-sha384", "hmac-sha512"] {
            let key = key(algorithm, "Key.Name");
            let mac = sign(&mut request(), &key, NOW);
            let verdict = |answer: &[u8], now| verify(answer, &key, &mac, now);
            let good = answer(&key, &mac, NOW, TsigRcode::NOERROR, &[]);
            assert_eq!(verdict(&good, NOW), Ok(()));
            assert_eq!(verdict(&good, NOW + 300), Ok(()));
            let late = TsigFault::BadTime { here: NOW + 301, there: NOW };
            assert_eq!(verdict(&good, NOW + 301), Err(late));
            assert_eq!(verify(&good, &key, &[], NOW), Err(TsigFault::Forged));
            assert_eq!(verdict(&request(), NOW), Err(TsigFault::Unsigned));
            let other = self::key(algorithm, "other");
            assert_eq!(verify(&good, &other, &mac, NOW), Err(TsigFault::Forged));
            // A forwarder may have changed the identifier: the original one was signed.
            let mut forwarded = good.clone();
            forwarded[0] ^= 0xff;
            assert_eq!(verdict(&forwarded, NOW), Ok(()));
        }
    }

    #[test]
    fn the_servers_clock_is_believed_by_its_signature_alone() {
        let key = key("hmac-sha256", "key");
        let mac = sign(&mut request(), &key, NOW);
        let there = (NOW + 3600).to_be_bytes();
        let told = answer(&key, &mac, NOW, TsigRcode::BADTIME, &there[2..]);
        let fault = TsigFault::BadTime { here: NOW, there: NOW + 3600 };
        assert_eq!(
            fault.to_string(),
            "says BADTIME: it is 2026-11-24T00:41:52Z there and 2026-11-23T23:41:52Z here, 3600 s behind"
        );
        assert_eq!(verify(&told, &key, &mac, NOW), Err(fault));
        let mut forged = told;
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert_eq!(verify(&forged, &key, &mac, NOW), Err(TsigFault::Forged));
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), text);
        }
        // 48 bits are all that a server can say.
        assert!(Utc((1 << 48) - 1).to_string().ends_with('Z'));
    }

    proptest! {
        #[test]
        fn no_changed_answer_is_believed(at in 2..200_usize, bit in 0..8_u8, cut in 0..200_usize) {
            let key = key("hmac-sha256", "key");
            let mac = sign(&mut request(), &key, NOW);
            let good = answer(&key, &mac, NOW, TsigRcode::NOERROR, &[]);
            let mut changed = good.clone();
            let at = at % good.len();
            changed[at] ^= 1 << bit;
            let case_of_a_name = changed.eq_ignore_ascii_case(&good);
            // The identifier itself is not signed, the original one in the signature is; neither
            // are the time to live and the length of the signature's own record.
            let unsigned = at < 2 || case_of_a_name;
            if !unsigned && verify(&changed, &key, &mac, NOW).is_ok() {
                let message = Message::from_slice(&changed).unwrap();
                prop_assert_ne!(find(message).unwrap().unwrap().1.ttl().as_secs(), 0, "octet {}", at);
            }
            prop_assert!(verify(&good[..cut.min(good.len() - 1)], &key, &mac, NOW).is_err());
        }

        #[test]
        fn any_octets_are_judged(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = verify(&octets, &key("hmac-sha256", "key"), &[0; 32], NOW);
        }
    }
}
