//! How long to wait before a failed request is made again. Pure: the caller brings the randomness
//! and the clock, and decides whether to try again at all.

use crate::limits::{RETRY_AFTER_MAX_MS, RETRY_BASE_MS, RETRY_CAP_MS};

/// Milliseconds to wait after attempt number `attempt` (from 1) has failed: exponential with a cap,
/// between half and all of it by `random` so that sessions do not return in step, and no less than
/// the provider asked for up to a bound.
pub fn delay_ms(attempt: u32, retry_after_ms: Option<u64>, random: u64) -> u64 {
    let doublings = attempt.saturating_sub(1).min(32);
    let whole = (RETRY_BASE_MS << doublings).min(RETRY_CAP_MS);
    let half = whole / 2;
    let own = half + random % (whole - half + 1);
    own.max(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_by_attempt_request_and_chance() {
        let table: [(u32, Option<u64>, u64, u64); 11] = [
            (0, None, 0, 250),
            (1, None, 0, 250),
            (1, None, 250, 500),
            (2, None, 0, 500),
            (3, None, 1_000, 2_000),
            (7, None, 0, 15_000),
            (7, None, 15_000, 30_000),
            (u32::MAX, None, 15_000, 30_000),
            (1, Some(9_000), 0, 9_000),
            (1, Some(u64::MAX), 0, 300_000),
            (7, Some(1), 0, 15_000),
        ];
        for (attempt, asked, random, expected) in table {
            assert_eq!(delay_ms(attempt, asked, random), expected, "{attempt} {asked:?} {random}");
        }
    }

    #[test]
    fn a_delay_is_never_below_half_nor_above_the_cap() {
        for attempt in 0..40 {
            for random in [0, 1, 17, u64::MAX / 3, u64::MAX] {
                let delay = delay_ms(attempt, None, random);
                assert!((250..=RETRY_CAP_MS).contains(&delay), "{attempt} {random} {delay}");
            }
        }
    }
}
