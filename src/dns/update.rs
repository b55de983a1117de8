//! Records, and messages that change them (RFC 2136).

use std::fmt;
use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rtype};
use domain::base::{Message, MessageBuilder, ToName, Ttl, UnknownRecordData};
use domain::rdata::{A, Aaaa, Ptr, Soa, Srv, Txt};

use super::name::DnsName;

/// What TCP carries, less the signature.
const MAX_MESSAGE: usize = 65_535 - 1024;

/// The data of a record of the types that we read and write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Data {
    /// A or AAAA.
    Addr(IpAddr),
    /// PTR.
    Ptr(DnsName),
    /// SRV with priority and weight 0.
    Srv { port: u16, target: DnsName },
    /// TXT, its strings joined.
    Txt(Vec<u8>),
    /// SOA, of which only the primary's name counts.
    Soa(DnsName),
}

impl Data {
    pub(super) fn rtype(&self) -> Rtype {
        match self {
            Self::Addr(addr) => addr_type(*addr),
            Self::Ptr(_) => Rtype::PTR,
            Self::Srv { .. } => Rtype::SRV,
            Self::Txt(_) => Rtype::TXT,
            Self::Soa(_) => Rtype::SOA,
        }
    }

    pub(super) fn addr(&self) -> Option<IpAddr> {
        match self {
            Self::Addr(addr) => Some(*addr),
            _ => None,
        }
    }

    fn rdata(&self) -> Vec<u8> {
        match self {
            Self::Addr(IpAddr::V4(addr)) => addr.octets().to_vec(),
            Self::Addr(IpAddr::V6(addr)) => addr.octets().to_vec(),
            Self::Ptr(name) | Self::Soa(name) => name.as_slice().to_vec(),
            Self::Srv { port, target } => {
                [&[0; 4][..], &port.to_be_bytes(), target.as_slice()].concat()
            }
            Self::Txt(text) => text
                .chunks(255)
                .flat_map(|chunk| std::iter::once(chunk.len() as u8).chain(chunk.iter().copied()))
                .collect(),
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Ptr(name) | Self::Soa(name) => name.fmt(f),
            Self::Srv { port, target } => write!(f, "0 0 {port} {target}"),
            Self::Txt(text) => write!(f, "\"{}\"", text.escape_ascii()),
        }
    }
}

/// A or AAAA.
pub(super) fn addr_type(addr: IpAddr) -> Rtype {
    if addr.is_ipv4() { Rtype::A } else { Rtype::AAAA }
}

/// One record, whose time to live is the same for all of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rr {
    pub(super) owner: DnsName,
    pub(super) data: Data,
}

impl Rr {
    pub(super) fn new(owner: &DnsName, data: Data) -> Self {
        Self { owner: owner.clone(), data }
    }
}

impl fmt::Display for Rr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.owner, self.data.rtype(), self.data)
    }
}

/// What must be true in the zone for an update to be carried out (section 2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prerequisite {
    /// The name has no record of any type.
    Unused(DnsName),
    /// The name has no TXT record.
    NoTxt(DnsName),
    /// The TXT records of the name are exactly these, which are not none.
    ExactlyTxt(DnsName, Vec<Vec<u8>>),
}

/// One change (section 2.5): only ever of single records, never of whole sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add(Rr),
    Delete(Rr),
}

/// Changes to one zone that are made all together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) zone: DnsName,
    pub(super) prerequisites: Vec<Prerequisite>,
    pub(super) changes: Vec<Change>,
}

impl Update {
    /// The message on the wire, unsigned; `None` when it would be longer than a message may be.
    pub(super) fn encode(&self, ttl: u32, id: u16) -> Option<Vec<u8>> {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_id(id);
        message.header_mut().set_opcode(Opcode::UPDATE);
        let mut message = message.question();
        message.push((&self.zone, Rtype::SOA)).ok()?;
        let mut message = message.answer();
        for (owner, class, rtype, rdata) in
            self.prerequisites.iter().flat_map(Prerequisite::records)
        {
            let data = UnknownRecordData::from_octets(rtype, rdata).ok()?;
            message.push((owner, class, Ttl::ZERO, data)).ok()?;
        }
        let mut message = message.authority();
        for change in &self.changes {
            let (rr, class, ttl) = match change {
                Change::Add(rr) => (rr, Class::IN, Ttl::from_secs(ttl)),
                Change::Delete(rr) => (rr, Class::NONE, Ttl::ZERO),
            };
            let data = UnknownRecordData::from_octets(rr.data.rtype(), rr.data.rdata()).ok()?;
            message.push((&rr.owner, class, ttl, data)).ok()?;
        }
        Some(message.finish()).filter(|message| message.len() < MAX_MESSAGE)
    }
}

impl Prerequisite {
    fn records(&self) -> Vec<(&DnsName, Class, Rtype, Vec<u8>)> {
        match self {
            Self::Unused(owner) => vec![(owner, Class::NONE, Rtype::ANY, Vec::new())],
            Self::NoTxt(owner) => vec![(owner, Class::NONE, Rtype::TXT, Vec::new())],
            Self::ExactlyTxt(owner, texts) => texts
                .iter()
                .map(|text| (owner, Class::IN, Rtype::TXT, Data::Txt(text.clone()).rdata()))
                .collect(),
        }
    }
}

/// The records of one name and type in the answer section; `None` when the message is garbage.
pub(super) fn records(message: &[u8], owner: &DnsName, rtype: Rtype) -> Option<Vec<(u32, Data)>> {
    let message = Message::from_slice(message).ok()?;
    let mut found = Vec::new();
    for record in message.answer().ok()? {
        let record = record.ok()?;
        if record.owner() != *owner || record.rtype() != rtype || record.class() != Class::IN {
            continue;
        }
        found.push((record.ttl().as_secs(), data(&record)?));
    }
    Some(found)
}

/// The zone that a name is in and its primary, from the SOA record in an answer (RFC 2308
/// section 3 puts it in the authority section when it is not what was asked for).
pub(super) fn soa(message: &[u8]) -> Option<(DnsName, DnsName)> {
    let message = Message::from_slice(message).ok()?;
    let sections = [message.answer().ok()?, message.authority().ok()?];
    let mut records = sections.into_iter().flatten().flatten();
    let soa = records.find(|record| record.rtype() == Rtype::SOA)?;
    match data(&soa)? {
        Data::Soa(primary) => Some((soa.owner().to_vec(), primary)),
        _ => None,
    }
}

fn data(record: &domain::base::ParsedRecord<'_, [u8]>) -> Option<Data> {
    Some(match record.rtype() {
        Rtype::A => Data::Addr(record.to_record::<A>().ok()??.data().addr().into()),
        Rtype::AAAA => Data::Addr(record.to_record::<Aaaa>().ok()??.data().addr().into()),
        Rtype::PTR => Data::Ptr(record.to_record::<Ptr<_>>().ok()??.data().ptrdname().to_vec()),
        Rtype::SRV => {
            let srv = record.to_record::<Srv<_>>().ok()??;
            Data::Srv { port: srv.data().port(), target: srv.data().target().to_vec() }
        }
        Rtype::TXT => Data::Txt(record.to_record::<Txt<_>>().ok()??.data().text()),
        Rtype::SOA => Data::Soa(record.to_record::<Soa<_>>().ok()??.data().mname().to_vec()),
        _ => return None,
    })
}
