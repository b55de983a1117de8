//! Where a check goes: to the address that the app is served on, so that what it finds is what HAProxy
//! will find.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::registers::Identity;

/// Addresses of documentation (RFC 5737, RFC 3849): the route to them is the one to the world.
const WORLD: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Where to check, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody has told the port yet.
    NoPort,
    /// Nobody has told the address yet.
    NoAddress,
    /// There.
    At(SocketAddr),
}

/// Who may tell the address of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Teller {
    /// HAProxy, at any moment.
    Soon,
    /// HAProxy, but it has not done so for long.
    Late,
    /// Nobody.
    Nobody,
}

/// Where the app on `port`, or else on the port that it is served on, is to be reached. Until the address
/// is told, it is the one that faces `server`; without that, the one that faces the world.
///
/// Not loopback, as long as HAProxy may tell another: what listens there only would count as ready.
pub(super) fn of(
    identity: &Identity,
    port: Option<u16>,
    teller: Teller,
    server: Option<IpAddr>,
) -> Place {
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let Some(port) = port.or(identity.port) else { return Place::NoPort };
    let world = || WORLD.into_iter().find_map(source);
    let addr = match (identity.addr, teller) {
        (Some(addr), _) if is_own(addr) => Some(addr),
        // Somebody in front of us passes connections on (published ports).
        (Some(addr), _) => source(addr).or(Some(LOOPBACK)),
        (None, Teller::Soon) => server.and_then(source),
        (None, Teller::Late) => server.and_then(source).or_else(world),
        (None, Teller::Nobody) => server.and_then(source).or_else(world).or(Some(LOOPBACK)),
    };
    addr.map_or(Place::NoAddress, |addr| Place::At(SocketAddr::new(addr, port)))
}

fn is_own(addr: IpAddr) -> bool {
    UdpSocket::bind((addr, 0)).is_ok()
}

/// The address that the kernel would send from to reach `addr`. Nothing is sent.
fn source(addr: IpAddr) -> Option<IpAddr> {
    let any = match addr {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((addr, 9)).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip()).filter(|addr| !addr.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_host_is_checked_itself() {
        let own = IpAddr::from([127, 0, 0, 9]);
        let identity = |addr, port| Identity { addr, port, slot: None };
        let at = |addr, port| Place::At(SocketAddr::new(addr, port));
        assert_eq!(of(&identity(Some(own), Some(80)), None, Teller::Soon, None), at(own, 80));
        assert_eq!(of(&identity(Some(own), Some(80)), Some(81), Teller::Soon, None), at(own, 81));
        assert_eq!(of(&identity(Some(own), None), Some(81), Teller::Soon, None), at(own, 81));
        assert_eq!(of(&identity(Some(own), None), None, Teller::Nobody, None), Place::NoPort);
        assert_eq!(of(&identity(None, Some(80)), None, Teller::Soon, None), Place::NoAddress);
        assert_eq!(
            of(&identity(None, Some(80)), None, Teller::Nobody, Some(own)),
            at([127, 0, 0, 1].into(), 80)
        );
        let Place::At(somewhere) = of(&identity(None, Some(80)), None, Teller::Nobody, None) else {
            panic!()
        };
        assert!(is_own(somewhere.ip()));
        let elsewhere = of(&identity(Some(WORLD[0]), Some(80)), None, Teller::Soon, None);
        let Place::At(near) = elsewhere else { panic!() };
        assert!(near.ip() != WORLD[0] && is_own(near.ip()));
    }
}
