//! Records, and messages that change them (RFC 2136).

use std::fmt;
use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rtype};
use domain::base::{Message, MessageBuilder, ToName, Ttl, UnknownRecordData};
use domain::rdata::{A, Aaaa, Cname, Ptr, Soa, Srv, Txt};

use super::name::DnsName;
use super::tsig::Request;

/// What TCP carries, less the signature.
const MAX_MESSAGE: usize = 65_535 - 1024;

/// The data of a record of the types that we read and write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Data {
    /// A or AAAA.
    Addr(IpAddr),
    /// PTR.
    Ptr(DnsName),
    /// CNAME.
    Alias(DnsName),
    /// SRV with priority and weight 0.
    Srv { port: u16, target: DnsName },
    /// TXT, its strings joined.
    Txt(Vec<u8>),
    /// SOA, of which only the primary's name counts.
    Soa(DnsName),
}

impl Data {
    pub(crate) fn rtype(&self) -> Rtype {
        match self {
            Self::Addr(addr) => addr_type(*addr),
            Self::Ptr(_) => Rtype::PTR,
            Self::Alias(_) => Rtype::CNAME,
            Self::Srv { .. } => Rtype::SRV,
            Self::Txt(_) => Rtype::TXT,
            Self::Soa(_) => Rtype::SOA,
        }
    }

    pub(crate) fn addr(&self) -> Option<IpAddr> {
        match self {
            Self::Addr(addr) => Some(*addr),
            _ => None,
        }
    }

    fn rdata(&self) -> Vec<u8> {
        match self {
            Self::Addr(IpAddr::V4(addr)) => addr.octets().to_vec(),
            Self::Addr(IpAddr::V6(addr)) => addr.octets().to_vec(),
            Self::Ptr(name) | Self::Alias(name) | Self::Soa(name) => name.as_slice().to_vec(),
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
            Self::Ptr(name) | Self::Alias(name) | Self::Soa(name) => name.fmt(f),
            Self::Srv { port, target } => write!(f, "0 0 {port} {target}"),
            Self::Txt(text) => write!(f, "\"{}\"", text.escape_ascii()),
        }
    }
}

/// A or AAAA.
pub(crate) fn addr_type(addr: IpAddr) -> Rtype {
    if addr.is_ipv4() { Rtype::A } else { Rtype::AAAA }
}

/// One record, whose time to live is the same for all of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rr {
    pub(crate) owner: DnsName,
    pub(crate) data: Data,
}

impl Rr {
    pub(crate) fn new(owner: &DnsName, data: Data) -> Self {
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
pub(crate) enum Prerequisite {
    /// The name has no record of any type.
    Unused(DnsName),
    /// The name has no TXT record.
    NoTxt(DnsName),
    /// The TXT records of the name are exactly these, which are not none.
    ExactlyTxt(DnsName, Vec<Vec<u8>>),
}

/// One change (section 2.5): only ever of single records, never of whole sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add(Rr),
    Delete(Rr),
}

/// Changes to one zone that are made all together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) zone: DnsName,
    pub(crate) prerequisites: Vec<Prerequisite>,
    pub(crate) changes: Vec<Change>,
}

impl Update {
    /// The message, unsigned; `None` when it would be longer than a message may be.
    pub(crate) fn encode(&self, ttl: u32, id: u16) -> Option<Request> {
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
        Some(message.additional()).filter(|message| message.as_slice().len() < MAX_MESSAGE)
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

/// A question for the records of one name and type, unsigned.
pub(crate) fn question(name: &DnsName, rtype: Rtype, id: u16) -> Option<Request> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(id);
    let mut message = message.question();
    message.push((name, rtype)).ok()?;
    Some(message.additional())
}

/// The records of one name and type in the answer section; `None` when the message is garbage.
pub(crate) fn records(message: &[u8], owner: &DnsName, rtype: Rtype) -> Option<Vec<(u32, Data)>> {
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
pub(crate) fn soa(message: &[u8]) -> Option<(DnsName, DnsName)> {
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
        Rtype::CNAME => Data::Alias(record.to_record::<Cname<_>>().ok()??.data().cname().to_vec()),
        Rtype::SRV => {
            let srv = record.to_record::<Srv<_>>().ok()??;
            Data::Srv { port: srv.data().port(), target: srv.data().target().to_vec() }
        }
        Rtype::TXT => Data::Txt(record.to_record::<Txt<_>>().ok()??.data().text()),
        Rtype::SOA => Data::Soa(record.to_record::<Soa<_>>().ok()??.data().mname().to_vec()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn name(text: &str) -> DnsName {
        DnsName::vec_from_str(text).unwrap()
    }

    /// An answer that has one record of every type that we read, and an SOA record beside it.
    fn answer() -> Vec<u8> {
        let owner = name("webapp.example.com");
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_qr(true);
        let mut message = message.question();
        message.push((&owner, Rtype::A)).unwrap();
        let mut message = message.answer();
        for data in [
            Data::Addr([10, 0, 0, 5].into()),
            Data::Addr("2001:db8::5".parse().unwrap()),
            Data::Ptr(name("node3.example.com")),
            Data::Alias(name("node3.example.com")),
            Data::Srv { port: 8080, target: name("node3.example.com") },
            Data::Txt(vec![b'x'; 300]),
        ] {
            let raw = UnknownRecordData::from_octets(data.rtype(), data.rdata()).unwrap();
            message.push((&owner, Class::IN, Ttl::from_secs(30), raw)).unwrap();
        }
        let mut message = message.authority();
        let soa = [name("ns.example.com").as_slice(), &[1, b'h', 0], &[0; 20]].concat();
        let raw = UnknownRecordData::from_octets(Rtype::SOA, soa).unwrap();
        message.push((name("example.com"), Class::IN, Ttl::from_secs(30), raw)).unwrap();
        message.finish()
    }

    #[test]
    fn every_type_is_read_as_it_was_written() {
        let (answer, owner) = (answer(), name("WebApp.example.com"));
        let read = |rtype| records(&answer, &owner, rtype).unwrap();
        assert_eq!(read(Rtype::A), [(30, Data::Addr([10, 0, 0, 5].into()))]);
        assert_eq!(read(Rtype::AAAA).len(), 1);
        assert_eq!(read(Rtype::PTR), [(30, Data::Ptr(name("node3.example.com")))]);
        assert_eq!(read(Rtype::CNAME), [(30, Data::Alias(name("node3.example.com")))]);
        let srv = Data::Srv { port: 8080, target: name("node3.example.com") };
        assert_eq!(read(Rtype::SRV), [(30, srv)]);
        assert_eq!(read(Rtype::TXT), [(30, Data::Txt(vec![b'x'; 300]))]);
        assert_eq!(soa(&answer), Some((name("example.com"), name("ns.example.com"))));
        assert_eq!(records(&answer, &name("other.example.com"), Rtype::A), Some(Vec::new()));
    }

    #[test]
    fn an_update_on_the_wire() {
        let (node, addr) = (name("n.z"), Data::Addr([10, 0, 0, 5].into()));
        let update = Update {
            zone: name("z"),
            prerequisites: vec![
                Prerequisite::Unused(node.clone()),
                Prerequisite::NoTxt(node.clone()),
                Prerequisite::ExactlyTxt(node.clone(), vec![b"a".to_vec()]),
            ],
            changes: vec![
                Change::Add(Rr::new(&node, addr.clone())),
                Change::Delete(Rr::new(&node, addr)),
            ],
        };
        let owner = b"\x01n\x01z\0";
        let wire = [
            b"\x12\x34\x28\0\0\x01\0\x03\0\x02\0\0\x01z\0\0\x06\0\x01".to_vec(),
            [&owner[..], b"\0\xff\0\xfe\0\0\0\0\0\0"].concat(),
            [&owner[..], b"\0\x10\0\xfe\0\0\0\0\0\0"].concat(),
            [&owner[..], b"\0\x10\0\x01\0\0\0\0\0\x02\x01a"].concat(),
            [&owner[..], b"\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\x05"].concat(),
            [&owner[..], b"\0\x01\0\xfe\0\0\0\0\0\x04\x0a\0\0\x05"].concat(),
        ];
        assert_eq!(update.encode(30, 0x1234).unwrap().finish(), wire.concat());
    }

    #[test]
    fn an_update_that_is_too_long_is_not_sent_without_its_prerequisites() {
        let texts = (0..600_u32).map(|n| [&n.to_be_bytes()[..], &[b'x'; 200]].concat()).collect();
        let prerequisites = vec![Prerequisite::ExactlyTxt(name("z"), texts)];
        let update = Update { zone: name("z"), prerequisites, changes: Vec::new() };
        assert!(update.encode(30, 1).is_none());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            octets in vec(any::<u8>(), 0..600),
            edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut edited = answer();
            for (at, octet) in edits {
                let at = at.index(edited.len());
                edited[at] = octet;
            }
            edited.truncate(cut.index(edited.len() + 1));
            for answer in [&octets, &edited] {
                for rtype in [Rtype::A, Rtype::AAAA, Rtype::PTR, Rtype::SRV, Rtype::TXT, Rtype::SOA] {
                    let _ = records(answer, &name("webapp.example.com"), rtype);
                }
                let _ = soa(answer);
            }
        }
    }

    #[test]
    fn a_question_is_not_an_answer() {
        let owner = name("webapp.example.com");
        let question = |rtype| question(&owner, rtype, 1).unwrap().finish();
        assert_eq!(records(&question(Rtype::A), &owner, Rtype::A), Some(Vec::new()));
        assert_eq!(soa(&question(Rtype::SOA)), None);
    }
}
