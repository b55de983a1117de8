//! Who may be connected. When there is no room, the connection that has kept its place longest
//! without a request that is being answered makes room, first one of the same peer: who only
//! dribbles keeps nobody out for longer than it takes others to come.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections at once.
const MOST: usize = 128;
/// Connections of one peer at once.
const MOST_OF_ONE: usize = 32;

/// Every connection there is, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Vec<Arc<Taken>>>>);

#[derive(Debug)]
struct Taken {
    peer: IpAddr,
    /// A request of it is being answered.
    held: AtomicBool,
    wanted: Notify,
}

impl Places {
    /// A place for a connection; `None` when all are held.
    pub(super) fn take(&self, peer: IpAddr) -> Option<Place> {
        let mut list = self.list();
        let of_peer = list.iter().filter(|taken| taken.peer == peer).count();
        let full = if of_peer >= MOST_OF_ONE { Some(peer) } else { None };
        if full.is_some() || list.len() >= MOST {
            let idle = |taken: &&Arc<Taken>| {
                !taken.held.load(Relaxed) && full.is_none_or(|peer| taken.peer == peer)
            };
            let oldest = list.iter().find(idle)?.clone();
            oldest.wanted.notify_one();
            list.retain(|taken| !Arc::ptr_eq(taken, &oldest));
        }
        let taken = Taken { peer, held: AtomicBool::new(false), wanted: Notify::new() };
        let taken = Arc::new(taken);
        list.push(taken.clone());
        Some(Place { taken, places: self.clone() })
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Taken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Taken>,
    places: Places,
}

impl Place {
    /// Waits until somebody else needs it more.
    pub(super) async fn is_wanted(&self) {
        self.taken.wanted.notified().await;
    }

    /// What the requests on this connection get.
    pub(super) fn claim(&self) -> Claim {
        Claim(self.taken.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.list().retain(|taken| !Arc::ptr_eq(taken, &self.taken));
    }
}

/// A request's hold on its connection's place.
#[derive(Clone, Debug)]
pub struct Claim(Arc<Taken>);

impl Claim {
    /// The request has been read and is worth an answer: the connection is not closed before it.
    pub fn hold(&self) {
        self.0.held.store(true, Relaxed);
    }

    /// It is answered.
    pub fn let_go(&self) {
        self.0.held.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    async fn is_wanted(place: &Place) -> bool {
        tokio::select! {
            biased;
            () = place.is_wanted() => true,
            () = tokio::task::yield_now() => false,
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_too_many_loses_its_own_oldest_one() {
        let places = Places::default();
        let other = places.take(B).unwrap();
        let mine: Vec<Place> = (0..MOST_OF_ONE).map(|_| places.take(A).unwrap()).collect();
        mine[0].claim().hold();
        let _more = places.take(A).unwrap();
        assert!(!is_wanted(&other).await && !is_wanted(&mine[0]).await);
        assert!(is_wanted(&mine[1]).await, "the oldest that is not being answered");
        mine.iter().for_each(|place| place.claim().hold());
        _more.claim().hold();
        assert!(places.take(A).is_none(), "all of them are");
        assert!(places.take(B).is_some());
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_is_free() {
        let places = Places::default();
        for n in 0..(MOST * 2) as u32 {
            let peer = IpAddr::V4(n.into());
            let place = places.take(peer).unwrap();
            assert!(!is_wanted(&place).await);
        }
        assert!(places.list().is_empty());
    }
}
