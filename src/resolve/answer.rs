//! Questions for addresses, and what the answers to them say.

use std::net::IpAddr;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, ToName};
use domain::rdata::{A, Aaaa, Cname};

use crate::dns::DnsName;

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
