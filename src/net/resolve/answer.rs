//! Questions for addresses, and what the answers to them say.

use std::net::IpAddr;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, ToName};
use domain::rdata::{A, Aaaa, Cname};

use crate::net::DnsName;

/// Aliases in a row that are followed within one answer.
const LONGEST_CHAIN: usize = 16;

/// What one answer says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has these addresses.
    Found(Vec<IpAddr>),
    /// It is an alias of this name, of which the answer knows no addresses.
    Alias(DnsName),
    /// It has no address of this kind, or does not exist.
    Nothing,
    /// The answer breaks the rules of the protocol.
    Garbage,
}

/// A recursive question for `name`, on the wire.
pub(crate) fn question(name: &DnsName, rtype: Rtype, id: u16) -> Vec<u8> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(id);
    message.header_mut().set_rd(true);
    let mut message = message.question();
    // A name has at most 255 octets, so there is room.
    let _ = message.push((name, rtype));
    message.finish()
}

/// The response code of an answer that says nothing about the name.
pub(crate) fn refusal(answer: &[u8]) -> Option<Rcode> {
    match Message::from_slice(answer) {
        Ok(message) => Some(message.header().rcode())
            .filter(|rcode| !matches!(*rcode, Rcode::NOERROR | Rcode::NXDOMAIN)),
        Err(_) => Some(Rcode::FORMERR),
    }
}

/// Reads the answer to a question for the A or AAAA records of `name`.
pub(super) fn read(answer: &[u8], name: &DnsName) -> Answer {
    Message::from_slice(answer)
        .ok()
        .and_then(|message| chase(message, name).ok())
        .unwrap_or(Answer::Garbage)
}

fn chase(
    message: &Message<[u8]>,
    name: &DnsName,
) -> Result<Answer, domain::base::wire::ParseError> {
    let mut owner = name.clone();
    'alias: for _ in 0..LONGEST_CHAIN {
        let mut found = Vec::new();
        for record in message.answer()? {
            let record = record?;
            if record.owner() != owner {
                continue;
            }
            match record.rtype() {
                Rtype::A => found.extend(
                    record.to_record::<A>()?.map(|record| IpAddr::from(record.data().addr())),
                ),
                Rtype::AAAA => found.extend(
                    record.to_record::<Aaaa>()?.map(|record| IpAddr::from(record.data().addr())),
                ),
                Rtype::CNAME => {
                    if let Some(alias) = record.to_record::<Cname<_>>()? {
                        owner = alias.data().cname().to_vec();
                        continue 'alias;
                    }
                }
                _ => {}
            }
        }
        return Ok(match found.is_empty() {
            false => Answer::Found(found),
            true if owner == *name => Answer::Nothing,
            true => Answer::Alias(owner),
        });
    }
    Ok(Answer::Garbage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::iana::Class;
    use domain::base::{Ttl, UnknownRecordData};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn name(text: &str) -> DnsName {
        DnsName::vec_from_str(text).unwrap()
    }

    fn answer(records: &[(&str, Rtype, Vec<u8>)]) -> Vec<u8> {
        let mut message = MessageBuilder::new_vec().question();
        message.push((name("a.test"), Rtype::A)).unwrap();
        let mut message = message.answer();
        for (owner, rtype, rdata) in records {
            let raw = UnknownRecordData::from_octets(*rtype, rdata.clone()).unwrap();
            message.push((name(owner), Class::IN, Ttl::ZERO, raw)).unwrap();
        }
        message.finish()
    }

    fn cname(owner: &'static str, target: &str) -> (&'static str, Rtype, Vec<u8>) {
        (owner, Rtype::CNAME, name(target).into_octets())
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_never_for_ever() {
        let a = |owner, last| (owner, Rtype::A, vec![10, 0, 0, last]);
        for (records, want) in [
            (vec![], Answer::Nothing),
            (
                vec![a("a.test", 1), a("b.test", 2), a("A.test", 3)],
                Answer::Found(vec![[10, 0, 0, 1].into(), [10, 0, 0, 3].into()]),
            ),
            (
                vec![a("c.test", 1), cname("b.test", "c.test"), cname("a.test", "b.test")],
                Answer::Found(vec![[10, 0, 0, 1].into()]),
            ),
            (vec![cname("a.test", "b.test")], Answer::Alias(name("b.test"))),
            (vec![cname("a.test", "b.test"), cname("b.test", "a.test")], Answer::Garbage),
            (vec![("a.test", Rtype::A, vec![10])], Answer::Garbage),
        ] {
            assert_eq!(read(&answer(&records), &name("a.test")), want);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            octets in vec(any::<u8>(), 0..600),
            edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut edited = answer(&[cname("a.test", "b.test"), ("b.test", Rtype::A, vec![1; 4])]);
            for (at, octet) in edits {
                let at = at.index(edited.len());
                edited[at] = octet;
            }
            edited.truncate(cut.index(edited.len() + 1));
            for answer in [&octets, &edited] {
                let _ = (read(answer, &name("a.test")), refusal(answer));
            }
        }
    }
}
