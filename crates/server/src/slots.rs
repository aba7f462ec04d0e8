//! How many streams there may be at once, in all and with one key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ostler_core::ids::ApiKeyId;

use crate::error::{ApiError, ApiResult};

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_key: HashMap<ApiKeyId, usize>,
}

/// Places for streams.
#[derive(Debug, Clone)]
pub(crate) struct StreamSlots {
    taken: Arc<Mutex<Taken>>,
    all: usize,
    per_key: usize,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    taken: Arc<Mutex<Taken>>,
    key: ApiKeyId,
}

impl StreamSlots {
    pub(crate) fn new(all: usize, per_key: usize) -> Self {
        Self { taken: Arc::default(), all, per_key }
    }

    /// Takes a place, or says that there is none.
    pub(crate) fn take(&self, key: &ApiKeyId) -> ApiResult<StreamSlot> {
        let mut taken = lock(&self.taken);
        let with_key = taken.by_key.get(key).copied().unwrap_or(0);
        if with_key >= self.per_key {
            return Err(ApiError::too_many(format!("this key has {with_key} open streams; close some")));
        }
        if taken.all >= self.all {
            return Err(ApiError::too_many("the server has no room for another stream"));
        }
        taken.all += 1;
        taken.by_key.insert(key.clone(), with_key + 1);
        Ok(StreamSlot { taken: Arc::clone(&self.taken), key: key.clone() })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_key.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.by_key.remove(&self.key);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_come_back() {
        let slots = StreamSlots::new(3, 2);
        let (a, b): (ApiKeyId, ApiKeyId) = ("apikey_a".parse().unwrap(), "apikey_b".parse().unwrap());
        let first = slots.take(&a).unwrap();
        let _second = slots.take(&a).unwrap();
        assert_eq!(slots.take(&a).unwrap_err().status, 429);
        let _third = slots.take(&b).unwrap();
        assert_eq!(slots.take(&b).unwrap_err().status, 429);
        drop(first);
        assert!(slots.take(&b).is_ok());
        assert!(!lock(&slots.taken).by_key.contains_key("apikey_c".parse::<ApiKeyId>().as_ref().unwrap()));
    }
}
