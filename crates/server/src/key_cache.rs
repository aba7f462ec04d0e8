//! Remembers for a moment which key is whose, so that a busy client does not cost a read each time.
//! Keys that do not exist are not remembered: guesses cannot push real ones out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ostler_core::ids::ApiKeyId;
use ostler_store::ApiKey;
use tokio::time::Instant;

use crate::limits;

/// Keys that were looked up within [`limits::KEY_BELIEVED`].
#[derive(Debug, Default)]
pub(crate) struct KeyCache {
    known: Mutex<HashMap<ApiKeyId, (Instant, ApiKey)>>,
}

impl KeyCache {
    pub(crate) fn get(&self, id: &ApiKeyId, now: Instant) -> Option<ApiKey> {
        let known = self.lock();
        let (at, key) = known.get(id)?;
        (now.saturating_duration_since(*at) < limits::KEY_BELIEVED).then(|| key.clone())
    }

    /// Remembers a key as it was read at `now`.
    pub(crate) fn put(&self, key: ApiKey, now: Instant) {
        let mut known = self.lock();
        if known.len() >= limits::KEYS_REMEMBERED && !known.contains_key(&key.id) {
            known.retain(|_, (at, _)| now.saturating_duration_since(*at) < limits::KEY_BELIEVED);
        }
        if known.len() < limits::KEYS_REMEMBERED || known.contains_key(&key.id) {
            known.insert(key.id.clone(), (now, key));
        }
    }

    pub(crate) fn forget(&self, id: &ApiKeyId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ApiKeyId, (Instant, ApiKey)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::time::Timestamp;

    fn key(n: usize) -> ApiKey {
        ApiKey {
            id: format!("apikey_{n}").parse().unwrap(),
            organization: "org_1".parse().unwrap(),
            workspace: "wrkspc_1".parse().unwrap(),
            name: String::new(),
            sha256: [0; 32],
            created_at: Timestamp(0),
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_is_believed_for_a_moment_only() {
        let (cache, now) = (KeyCache::default(), Instant::now());
        cache.put(key(1), now);
        assert!(cache.get(&key(1).id, now).is_some());
        assert!(cache.get(&key(1).id, now + limits::KEY_BELIEVED).is_none());
        cache.forget(&key(1).id);
        assert!(cache.get(&key(1).id, now).is_none());
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let (cache, now) = (KeyCache::default(), Instant::now());
        for n in 0..limits::KEYS_REMEMBERED + 10 {
            cache.put(key(n), now);
        }
        assert_eq!(cache.lock().len(), limits::KEYS_REMEMBERED);
        cache.put(key(9_999_999), now + limits::KEY_BELIEVED);
        assert_eq!(cache.lock().len(), 1);
    }
}
