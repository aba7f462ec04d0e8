//! Connections to hosts that nobody uses for the moment. Who comes next gets one only if it belongs to the same workspace and may use the
//! same secrets there: whatever a host remembers of a connection, it remembers of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ostler_core::ids::{CredentialId, WorkspaceId};

use crate::limits;

/// Whose a connection is, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) workspace: WorkspaceId,
    /// Whether the server made its requests, and no program of a sandbox.
    pub(crate) is_of_server: bool,
    /// The credentials that may be used there, and which of their secrets, in order.
    pub(crate) credentials: Vec<(CredentialId, u64)>,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What is kept.
#[derive(Debug)]
pub(crate) struct Pool<T>(Mutex<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    /// The youngest last. None is empty.
    idle: HashMap<WorkspaceId, Vec<Idle<T>>>,
    count: usize,
    last: u64,
}

#[derive(Debug)]
struct Idle<T> {
    number: u64,
    place: Place,
    connection: T,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Kept { idle: HashMap::new(), count: 0, last: 0 }))
    }
}

impl<T> Pool<T> {
    fn lock(&self) -> MutexGuard<'_, Kept<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection, and says by which number it can be forgotten. Without room it is closed.
    pub(crate) fn leave(&self, place: Place, connection: T) -> Option<u64> {
        let mut kept = self.lock();
        let of_workspace = kept.idle.get(&place.workspace).map_or(&[][..], Vec::as_slice);
        let at_place = of_workspace.iter().filter(|idle| idle.place == place).count();
        if kept.count >= limits::KEPT || of_workspace.len() >= limits::KEPT_PER_WORKSPACE || at_place >= limits::KEPT_PER_PLACE {
            return None;
        }
        kept.count += 1;
        kept.last += 1;
        let number = kept.last;
        kept.idle.entry(place.workspace.clone()).or_default().push(Idle { number, place, connection });
        Some(number)
    }

    /// Takes the connections that are kept at a place, the youngest first, until one is of use. Those that are not are closed.
    pub(crate) fn take(&self, place: &Place, is_of_use: impl Fn(&T) -> bool) -> Option<T> {
        loop {
            let found = self.remove(&place.workspace, |idle| idle.place == *place)?;
            if is_of_use(&found) {
                return Some(found);
            }
        }
    }

    /// Whether there are connections at a place.
    pub(crate) fn has(&self, place: &Place) -> bool {
        self.lock().idle.get(&place.workspace).is_some_and(|idle| idle.iter().any(|idle| idle.place == *place))
    }

    /// Closes the one of this number, if nobody took it.
    pub(crate) fn forget(&self, workspace: &WorkspaceId, number: u64) {
        drop(self.remove(workspace, |idle| idle.number == number));
    }

    fn remove(&self, workspace: &WorkspaceId, is_it: impl Fn(&Idle<T>) -> bool) -> Option<T> {
        let mut kept = self.lock();
        let of_workspace = kept.idle.get_mut(workspace)?;
        let found = of_workspace.remove(of_workspace.iter().rposition(is_it)?);
        if of_workspace.is_empty() {
            kept.idle.remove(workspace);
        }
        kept.count -= 1;
        Some(found.connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(workspace: &str, version: u64, host: &str, port: u16) -> Place {
        let credentials = vec![("vcrd_1".parse().unwrap(), version)];
        Place { workspace: workspace.parse().unwrap(), is_of_server: false, credentials, host: host.into(), port }
    }

    #[test]
    fn only_who_may_do_the_same_at_the_same_place_gets_a_connection() {
        let pool = Pool::default();
        let here = place("wrkspc_1", 1, "a.test", 443);
        pool.leave(here.clone(), "old").unwrap();
        pool.leave(here.clone(), "new").unwrap();
        let without = Place { credentials: Vec::new(), ..here.clone() };
        let servers = Place { is_of_server: true, ..here.clone() };
        let others = [place("wrkspc_2", 1, "a.test", 443), place("wrkspc_1", 2, "a.test", 443), place("wrkspc_1", 1, "b.test", 443)];
        for other in others.into_iter().chain([without, servers]) {
            assert!(!pool.has(&other) && pool.take(&other, |_| true).is_none(), "{other:?}");
        }
        assert_eq!(pool.take(&place("wrkspc_1", 1, "a.test", 444), |_| true), None);
        assert!(pool.has(&here));
        assert_eq!(pool.take(&here, |_| true), Some("new"));
        assert_eq!(pool.take(&here, |_| false), None, "what is of no use is closed");
        assert!(!pool.has(&here) && pool.lock().idle.is_empty());
    }

    #[test]
    fn there_is_room_for_so_many_and_what_is_forgotten_makes_room() {
        let pool = Pool::default();
        let here = place("wrkspc_1", 1, "a.test", 443);
        let numbers: Vec<u64> = (0..limits::KEPT_PER_PLACE).map(|number| pool.leave(here.clone(), number).unwrap()).collect();
        assert_eq!(pool.leave(here.clone(), 0), None);
        let mut port = 1_000;
        while pool.leave(place("wrkspc_1", 1, "a.test", port), 0).is_some() {
            port += 1;
        }
        assert_eq!(pool.lock().count, limits::KEPT_PER_WORKSPACE);
        pool.forget(&here.workspace, numbers[0]);
        pool.forget(&here.workspace, numbers[0]);
        assert!(pool.leave(here.clone(), 0).is_some() && pool.leave(here, 0).is_none());
        for workspace in 2.. {
            let other = place(&format!("wrkspc_{workspace}"), 1, "a.test", 443);
            if pool.leave(other, 0).is_none() {
                break;
            }
        }
        assert_eq!(pool.lock().count, limits::KEPT);
    }
}
