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
pub(super) enum TsigFault {
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
pub(super) fn sign(request: &mut Vec<u8>, key: &Key, now: u64) -> Vec<u8> {
    let id = [request[0], request[1]];
    let variables = Variables { time: now, fudge: FUDGE, error: 0, other: &[] };
    let mut digest = hmac::Context::with_key(&hmac_key(key));
    digest.update(request);
    variables.digest(key, &mut digest);
    let mac = digest.sign();
    let mac = mac.as_ref();

    let additional = u16::from_be_bytes([request[10], request[11]]).wrapping_add(1);
    request[10..12].copy_from_slice(&additional.to_be_bytes());
    let mut rdata = canonical(&algorithm_name(key.algorithm));
    rdata.extend(variables.time_and_fudge());
    rdata.extend((mac.len() as u16).to_be_bytes());
    rdata.extend(mac);
    rdata.extend(id);
    rdata.extend([0; 4]);
    request.extend(key.name.as_slice());
    request.extend(Rtype::TSIG.to_int().to_be_bytes());
    request.extend(Class::ANY.to_int().to_be_bytes());
    request.extend([0; 4]);
    request.extend((rdata.len() as u16).to_be_bytes());
    request.extend(rdata);
    mac.to_vec()
}

/// Verifies the answer to a request that was signed with `mac`, at `now` in seconds since 1970.
pub(super) fn verify(answer: &[u8], key: &Key, mac: &[u8], now: u64) -> Result<(), TsigFault> {
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
    let mut signed = (mac.len() as u16).to_be_bytes().to_vec();
    signed.extend(mac);
    signed.extend(unsigned);
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
    fn digest(&self, key: &Key, digest: &mut hmac::Context) {
        let mut bytes = Vec::new();
        self.collect(key, &mut bytes);
        digest.update(&bytes);
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
