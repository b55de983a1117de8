//! Requests signed and answers verified with a shared key (RFC 8945), by the `domain` crate.
//!
//! Here is what an operator is told when they do not agree.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::base::Message;
use domain::base::iana::TsigRcode;
use domain::base::message_builder::AdditionalBuilder;
use domain::rdata::tsig::{Time48, Tsig};
use domain::tsig::{self, ClientTransaction, ValidationError};

use super::key::Key;
use crate::time::Utc;

/// Latest time that a signature can tell.
const LATEST: u64 = (1 << 48) - 1;

/// A message that is whole but for its signature.
pub(crate) type Request = AdditionalBuilder<Vec<u8>>;
/// What an answer is verified against.
pub(crate) type Signed = ClientTransaction<Arc<tsig::Key>>;

/// Why an answer cannot be trusted, or what the server finds wrong with our signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TsigFault {
    /// The answer carries no signature.
    Unsigned,
    /// The server's word, unsigned itself and so no proof: BADKEY, BADSIG, BADTRUNC.
    Server(TsigRcode),
    /// The clocks differ: seconds since 1970 here and there. No proof either: see [`fault`].
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
                let [here, there] = [here, there].map(|secs| Utc(Duration::from_secs(*secs)));
                write!(f, "says BADTIME: it is {there} there and {here} here, {gap} s {way}")
            }
            Self::Forged => f.write_str("answers with a signature that is not by our key"),
            Self::Malformed => f.write_str("answers with a signature that makes no sense"),
        }
    }
}

/// Signs a request at `now`, in seconds since 1970; `None` when it is too long for that.
pub(crate) fn sign(request: &mut Request, key: &Key, now: u64) -> Option<Signed> {
    ClientTransaction::request(Arc::clone(&key.tsig), request, time(now)).ok()
}

/// Verifies the answer to a request that was signed, at `now` in seconds since 1970.
pub(crate) fn verify(answer: &[u8], signed: &Signed, now: u64) -> Result<(), TsigFault> {
    let mut message = Message::from_octets(answer.to_vec()).map_err(|_| TsigFault::Malformed)?;
    signed.answer(&mut message, time(now)).map_err(|error| fault(error, answer, now))
}

fn time(seconds: u64) -> Time48 {
    Time48::from_u64(seconds.min(LATEST))
}

/// What a failed check means. A server that finds our clock wrong signs that, but the library takes
/// this signature for a bad one: it hashes the server's time as eight octets, where six are sent. So
/// the complaint is read, and told as what it is, one that nothing proves; the answer is refused.
fn fault(error: ValidationError, answer: &[u8], now: u64) -> TsigFault {
    let record = last_record(answer);
    let code = record.map_or(TsigRcode::NOERROR, |record| record.error);
    match (error, record) {
        (ValidationError::ServerUnsigned, _) => TsigFault::Unsigned,
        (ValidationError::ServerBadKey, _) => TsigFault::Server(TsigRcode::BADKEY),
        (ValidationError::ServerBadSig, _) => TsigFault::Server(TsigRcode::BADSIG),
        (ValidationError::BadTrunc, _) if code != TsigRcode::NOERROR => TsigFault::Server(code),
        (ValidationError::ServerBadTime { client, server }, _) => {
            TsigFault::BadTime { here: client.into(), there: server.into() }
        }
        (ValidationError::BadTime, Some(record)) => {
            TsigFault::BadTime { here: now, there: record.signed_at }
        }
        (ValidationError::BadSig, Some(Record { signed_at, other: Some(there), .. }))
            if code == TsigRcode::BADTIME =>
        {
            TsigFault::BadTime { here: signed_at, there }
        }
        (ValidationError::FormErr | ValidationError::BadOther, _) => TsigFault::Malformed,
        _ => TsigFault::Forged,
    }
}

/// What a signature says besides the code.
#[derive(Clone, Copy)]
struct Record {
    error: TsigRcode,
    signed_at: u64,
    other: Option<u64>,
}

fn last_record(answer: &[u8]) -> Option<Record> {
    let record = Message::from_slice(answer).ok()?.additional().ok()?.flatten().last()?;
    let tsig = record.to_record::<Tsig<_, _>>().ok()??.into_data();
    let signed_at = tsig.time_signed().into();
    Some(Record { error: tsig.error(), signed_at, other: tsig.other_time().map(u64::from) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::dns::wire::name::DnsName;
    use crate::registers::dns::wire::update::question;
    use domain::base::iana::{Class, Rcode, Rtype};
    use domain::base::{MessageBuilder, Ttl};
    use domain::tsig::ServerTransaction;
    use proptest::prelude::*;

    const NOW: u64 = 1_795_477_312;

    fn key(algorithm: &str, name: &str) -> Key {
        Key::parse(&format!("{algorithm}:{name}:c2VjcmV0c2VjcmV0")).unwrap()
    }

    fn request() -> Request {
        question(&DnsName::vec_from_str("webapp.example.com").unwrap(), Rtype::A, 0x1234).unwrap()
    }

    /// A signed request, and the answer to it as a server with the key signs it at `then`.
    fn exchange(key: &Key, then: u64) -> (Signed, Vec<u8>) {
        let mut request = request();
        let signed = sign(&mut request, key, NOW).unwrap();
        let mut request = Message::from_octets(request.finish()).unwrap();
        let server = ServerTransaction::request(&key.tsig, &mut request, time(NOW)).unwrap();
        let answer = MessageBuilder::new_vec().start_answer(&request, Rcode::NOERROR).unwrap();
        let mut answer = answer.additional();
        server.unwrap().answer(&mut answer, time(then)).unwrap();
        (signed, answer.finish())
    }

    #[test]
    fn an_answer_is_believed_when_its_signature_fits_the_request_and_the_time() {
        for algorithm in ["hmac-sha256", "hmac-sha384", "hmac-sha512"] {
            let key = key(algorithm, "Key.Name");
            let (signed, good) = exchange(&key, NOW);
            assert_eq!(verify(&good, &signed, NOW), Ok(()));
            assert_eq!(verify(&good, &signed, NOW + 300), Ok(()));
            let late = TsigFault::BadTime { here: NOW + 301, there: NOW };
            assert_eq!(verify(&good, &signed, NOW + 301), Err(late));
            assert_eq!(verify(&request().finish(), &signed, NOW), Err(TsigFault::Unsigned));
            // Of another request, and by another key.
            let later = sign(&mut request(), &key, NOW + 1).unwrap();
            assert_eq!(verify(&good, &later, NOW), Err(TsigFault::Forged));
            let other = sign(&mut request(), &self::key(algorithm, "other"), NOW).unwrap();
            assert_eq!(verify(&good, &other, NOW), Err(TsigFault::Forged));
            // A forwarder may have changed the identifier: the original one was signed.
            let mut forwarded = good.clone();
            forwarded[0] ^= 0xff;
            assert_eq!(verify(&forwarded, &signed, NOW), Ok(()));
        }
    }

    #[test]
    fn a_server_that_finds_the_clock_wrong_is_understood_and_not_believed() {
        let key = key("hmac-sha256", "key");
        let there = (NOW + 3600).to_be_bytes();
        for (error, other, fault) in [
            (TsigRcode::BADTIME, &there[2..], TsigFault::BadTime { here: NOW, there: NOW + 3600 }),
            (TsigRcode::BADTIME, &[], TsigFault::Forged),
            (TsigRcode::NOERROR, &there[2..], TsigFault::Forged),
        ] {
            let mut answer = request();
            answer.header_mut().set_rcode(Rcode::NOTAUTH);
            let (name, algorithm) = (key.tsig.name(), key.tsig.algorithm().to_name());
            let data =
                Tsig::new(algorithm, time(NOW), 300, &[7; 32][..], 0x1234, error, other).unwrap();
            answer.push((name, Class::ANY, Ttl::ZERO, data)).unwrap();
            let signed = sign(&mut request(), &key, NOW).unwrap();
            assert_eq!(verify(&answer.finish(), &signed, NOW), Err(fault));
        }
        assert_eq!(
            TsigFault::BadTime { here: NOW, there: NOW + 3600 }.to_string(),
            "says BADTIME: it is 2026-11-24T00:41:52Z there and 2026-11-23T23:41:52Z here, 3600 s behind"
        );
    }

    proptest! {
        #[test]
        fn no_changed_answer_is_believed(at in 2..200_usize, bit in 0..8_u8, cut in 0..200_usize) {
            let (signed, good) = exchange(&key("hmac-sha256", "key"), NOW);
            let mut changed = good.clone();
            let at = at % good.len();
            changed[at] ^= 1 << bit;
            let case_of_a_name = changed.eq_ignore_ascii_case(&good);
            // The identifier itself is not signed, the original one in the signature is; neither are
            // the class, the time to live and the length of the signature's own record.
            let tsig = good.len() - (10 + 13 + 16 + 32);
            let unsigned = at < 2 || case_of_a_name || (tsig..tsig + 10).contains(&at);
            prop_assert!(unsigned || verify(&changed, &signed, NOW).is_err(), "octet {}", at);
            prop_assert!(verify(&good[..cut.min(good.len() - 1)], &signed, NOW).is_err());
        }

        #[test]
        fn any_octets_are_judged(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let signed = sign(&mut request(), &key("hmac-sha256", "key"), NOW).unwrap();
            let _ = verify(&octets, &signed, NOW);
        }
    }
}
