//! The places of open connections, and who has to leave if there are too few.
//!
//! A connection that has an open push stream is safe, because an authorization is needed for
//! one. All others cost their callers nothing, so that a new connection takes the place of
//! one of them: the oldest one of the address that has most of them. So idle callers lock
//! nobody out, and neither do many of them at one address.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::{counter, gauge};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use crate::process::metric;

/// Time limit for a connection that has to leave.
const LEAVING: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    held: Arc<Mutex<Held>>,
}

/// The open connections by their number, which grows with time.
#[derive(Debug, Default)]
struct Held {
    last: u64,
    by_number: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    address: IpAddr,
    /// Number of its open push streams.
    pushes: usize,
    /// True if it has to leave.
    leave: watch::Sender<bool>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            held: Arc::default(),
        }
    }

    /// A place for a new connection: a free one, or else that of a connection which has no
    /// push stream. `None` if all have one.
    pub(super) async fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut permit = self.free.clone().try_acquire_owned().ok();
        if permit.is_none() {
            counter!(metric::GRPC_REFUSED).increment(1);
            if self.lock().displace() {
                let left = timeout(LEAVING, self.free.clone().acquire_owned()).await;
                permit = left.ok().and_then(Result::ok);
            }
        }
        let permit = permit?;
        gauge!(metric::GRPC_CONNECTIONS).increment(1.0);
        let (leave, told) = watch::channel(false);
        let mut held = self.lock();
        held.last += 1;
        let number = held.last;
        let holder = Holder {
            address: network(address),
            pushes: 0,
            leave,
        };
        held.by_number.insert(number, holder);
        Some(Place {
            stay: Stay {
                number,
                told,
                places: self.clone(),
            },
            _permit: permit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Tells a connection without a push stream to leave, and returns whether there was one.
    fn displace(&self) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for holder in self.by_number.values() {
            if holder.may_leave() {
                *counts.entry(holder.address).or_default() += 1;
            }
        }
        let most = counts.values().max().copied();
        let mut holders = self.by_number.values();
        let oldest = holders.find(|h| h.may_leave() && counts.get(&h.address).copied() == most);
        if let Some(oldest) = oldest {
            oldest.leave.send_replace(true);
        }
        oldest.is_some()
    }
}

impl Holder {
    fn may_leave(&self) -> bool {
        self.pushes == 0 && !*self.leave.borrow()
    }
}

/// The address, or the network of an IPv6 address, within which a host can choose freely.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    stay: Stay,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn stay(&self) -> Stay {
        self.stay.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        gauge!(metric::GRPC_CONNECTIONS).decrement(1.0);
        self.stay.places.lock().by_number.remove(&self.stay.number);
    }
}

/// A connection, as its calls see it.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    number: u64,
    told: watch::Receiver<bool>,
    places: Places,
}

impl Stay {
    /// Resolves when the connection has to leave.
    pub(super) async fn over(mut self) {
        if self.told.wait_for(|told| *told).await.is_err() {
            // It has left.
            std::future::pending().await
        }
    }

    /// Keeps the connection from having to leave, until the result is dropped.
    pub(super) fn secure(&self) -> Secured {
        self.change(|pushes| pushes + 1);
        Secured(self.clone())
    }

    fn change(&self, pushes: impl FnOnce(usize) -> usize) {
        if let Some(holder) = self.places.lock().by_number.get_mut(&self.number) {
            holder.pushes = pushes(holder.pushes);
        }
    }
}

/// An open push stream of a connection.
#[derive(Debug)]
pub(super) struct Secured(Stay);

impl Drop for Secured {
    fn drop(&mut self) {
        self.0.change(|pushes| pushes.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn at(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    async fn leaves(place: &Place) {
        place.stay().over().await;
    }

    fn stays(place: &Place) -> bool {
        place.stay().over().now_or_never().is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_the_address_with_most_connections_leaves() {
        let places = Places::new(4);
        let first = places.enter(at(1)).await.unwrap();
        let mut of_many = Vec::new();
        for _ in 0..3 {
            of_many.push(places.enter(at(2)).await.unwrap());
        }
        let secured = of_many[0].stay().secure();
        let (entered, ()) = tokio::join!(places.enter(at(3)), async {
            leaves(&of_many[1]).await;
            of_many.remove(1);
        });
        let entered = entered.unwrap();
        assert!(stays(&first) && stays(&entered));
        assert!(of_many.iter().all(stays));
        // One of each address, of which that of the second has a push stream no longer.
        of_many.truncate(1);
        drop(secured);
        let _another = places.enter(at(4)).await.unwrap();
        let (entered, ()) = tokio::join!(places.enter(at(5)), async {
            leaves(&first).await;
            drop(first);
        });
        assert!(entered.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_pushes_keeps_its_place() {
        let places = Places::new(1);
        let place = places.enter(at(1)).await.unwrap();
        let secured = [place.stay().secure(), place.stay().secure()];
        assert!(places.enter(at(2)).await.is_none());
        let [one, other] = secured;
        drop(one);
        assert!(places.enter(at(2)).await.is_none());
        assert!(stays(&place));
        drop(other);
        assert!(
            places.enter(at(2)).await.is_none(),
            "it does not leave in time"
        );
        leaves(&place).await;
        drop(place);
        assert!(places.enter(at(2)).await.is_some());
    }

    #[test]
    fn a_host_counts_once_with_all_its_addresses() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::2:3"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
