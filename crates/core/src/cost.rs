//! List cost and list prices. Integers only: amounts add up exactly, in every order.

use serde::{Deserialize, Serialize};

use crate::model::TokenUsage;

/// Nanodollars of one cent.
const NANOS_PER_CENT: u64 = 10_000_000;

/// An amount of list cost, in billionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cost(pub u64);

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many cents.
    pub fn from_cents(cents: u64) -> Self {
        Self(cents.saturating_mul(NANOS_PER_CENT))
    }

    /// Whole cents, rounded down.
    pub fn cents(self) -> u64 {
        self.0 / NANOS_PER_CENT
    }

    /// The sum, at most what fits.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// US dollars with nine decimals, such as `0.001250000`.
    pub fn dollars(self) -> String {
        format!("{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// What a model costs, in millionths of a US dollar per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Uncached input.
    pub input: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache for minutes.
    pub cache_write: u64,
    /// Input written to a cache for an hour.
    pub cache_write_1h: u64,
}

impl Price {
    /// What these tokens cost, rounded up to the next nanodollar.
    pub fn cost(&self, usage: &TokenUsage) -> Cost {
        let short = usage.cache_creation_input_tokens.saturating_sub(usage.cache_creation_1h_input_tokens);
        let counted = [
            (usage.input_tokens, self.input),
            (usage.output_tokens, self.output),
            (usage.cache_read_input_tokens, self.cache_read),
            (short, self.cache_write),
            (usage.cache_creation_1h_input_tokens, self.cache_write_1h),
        ];
        // Per token the price is thousandths of a nanodollar.
        let thousandths = counted.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum::<u128>();
        Cost(u64::try_from(thousandths.div_ceil(1_000)).unwrap_or(u64::MAX))
    }

    /// The most that a request can cost that reads and writes at most so many tokens, whatever of
    /// the input is cached.
    pub fn most(&self, input_tokens: u64, output_tokens: u64) -> Cost {
        let input = self.dearest_input();
        let thousandths = u128::from(input_tokens) * u128::from(input) + u128::from(output_tokens) * u128::from(self.output);
        Cost(u64::try_from(thousandths.div_ceil(1_000)).unwrap_or(u64::MAX))
    }

    /// Output tokens that this amount pays for.
    pub fn output_tokens(&self, amount: Cost) -> u64 {
        u64::try_from(u128::from(amount.0) * 1_000 / u128::from(self.output.max(1))).unwrap_or(u64::MAX)
    }

    /// The higher of each.
    #[must_use]
    pub fn dearest(&self, other: &Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
        }
    }

    /// No cache is asked to keep anything for an hour, so that price does not count.
    fn dearest_input(&self) -> u64 {
        self.input.max(self.cache_read).max(self.cache_write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// $3 in, $15 out, $0.30 read, $3.75 and $6 written.
    const PRICE: Price =
        Price { input: 3_000_000, output: 15_000_000, cache_read: 300_000, cache_write: 3_750_000, cache_write_1h: 6_000_000 };

    #[test]
    fn tokens_cost_by_kind() {
        let one = |usage: TokenUsage| PRICE.cost(&usage).dollars();
        let million = 1_000_000;
        assert_eq!(one(TokenUsage { input_tokens: million, ..TokenUsage::default() }), "3.000000000");
        assert_eq!(one(TokenUsage { output_tokens: 1, ..TokenUsage::default() }), "0.000015000");
        assert_eq!(one(TokenUsage { cache_read_input_tokens: million, ..TokenUsage::default() }), "0.300000000");
        let written = TokenUsage { cache_creation_input_tokens: million, cache_creation_1h_input_tokens: 400_000, ..TokenUsage::default() };
        assert_eq!(one(written), "4.650000000");
        assert_eq!(PRICE.cost(&TokenUsage::default()), Cost::ZERO);
    }

    #[test]
    fn fractions_of_a_nanodollar_round_up() {
        let cheap = Price { input: 1, output: 1, cache_read: 1, cache_write: 1, cache_write_1h: 1 };
        assert_eq!(cheap.cost(&TokenUsage { input_tokens: 1, ..TokenUsage::default() }), Cost(1));
        assert_eq!(cheap.cost(&TokenUsage { input_tokens: 1_001, ..TokenUsage::default() }), Cost(2));
    }

    #[test]
    fn no_usage_costs_more_than_the_most() {
        for (input, read, written, output) in [(10, 0, 0, 5), (0, 10, 0, 5), (0, 0, 10, 5), (3, 3, 4, 0)] {
            let usage = TokenUsage {
                input_tokens: input,
                cache_read_input_tokens: read,
                cache_creation_input_tokens: written,
                output_tokens: output,
                cache_creation_1h_input_tokens: 0,
            };
            assert!(PRICE.cost(&usage) <= PRICE.most(10, 5), "{usage:?}");
        }
        assert_eq!(PRICE.most(u64::MAX, u64::MAX), Cost(u64::MAX));
        assert_eq!(PRICE.output_tokens(Cost::from_cents(150)), 100_000);
    }
}
