//! List prices of models. The table is a start: prices change, and contracts differ, so that the
//! configuration can replace each of them.

use std::collections::BTreeMap;

use ostler_core::cost::Price;
use ostler_core::session::plan::TargetName;

/// Prices as they were known when this was written, not read from the vendors' pages, and for newer
/// models of a family those of the last one known; in US dollars per million tokens: input,
/// output, input from a cache, input into a cache, the same for an hour. A name stands for itself and for
/// its dated releases, one that ends in `*` for all that begin like it; the longest that fits counts.
/// Where a dearer model could hide behind a beginning, there is none: what is not known has no budget.
const LISTED: &[(&str, [f64; 5])] = &[
    ("claude-opus-*", [5.0, 25.0, 0.5, 6.25, 10.0]),
    ("claude-opus-4-0*", [15.0, 75.0, 1.5, 18.75, 30.0]),
    ("claude-opus-4-1*", [15.0, 75.0, 1.5, 18.75, 30.0]),
    ("claude-opus-4-2*", [15.0, 75.0, 1.5, 18.75, 30.0]),
    ("claude-3-opus*", [15.0, 75.0, 1.5, 18.75, 30.0]),
    ("claude-sonnet-*", [3.0, 15.0, 0.3, 3.75, 6.0]),
    ("claude-3-5-sonnet*", [3.0, 15.0, 0.3, 3.75, 6.0]),
    ("claude-3-7-sonnet*", [3.0, 15.0, 0.3, 3.75, 6.0]),
    ("claude-haiku-*", [1.0, 5.0, 0.1, 1.25, 2.0]),
    ("claude-3-5-haiku*", [0.8, 4.0, 0.08, 1.0, 1.6]),
    ("claude-3-haiku*", [0.25, 1.25, 0.03, 0.3, 0.5]),
    ("gpt-5", [1.25, 10.0, 0.125, 1.25, 1.25]),
    ("gpt-5-1", [1.25, 10.0, 0.125, 1.25, 1.25]),
    ("gpt-5-chat", [1.25, 10.0, 0.125, 1.25, 1.25]),
    ("gpt-5-codex", [1.25, 10.0, 0.125, 1.25, 1.25]),
    ("gpt-5-pro", [15.0, 120.0, 15.0, 15.0, 15.0]),
    ("gpt-5-mini", [0.25, 2.0, 0.025, 0.25, 0.25]),
    ("gpt-5-nano", [0.05, 0.4, 0.005, 0.05, 0.05]),
    ("gpt-4-1", [2.0, 8.0, 0.5, 2.0, 2.0]),
    ("gpt-4-1-mini", [0.4, 1.6, 0.1, 0.4, 0.4]),
    ("gpt-4-1-nano", [0.1, 0.4, 0.025, 0.1, 0.1]),
    ("gpt-4o", [2.5, 10.0, 1.25, 2.5, 2.5]),
    ("gpt-4o-2024-05-13", [5.0, 15.0, 5.0, 5.0, 5.0]),
    ("gpt-4o-mini", [0.15, 0.6, 0.075, 0.15, 0.15]),
    ("o3", [2.0, 8.0, 0.5, 2.0, 2.0]),
    ("o3-mini", [1.1, 4.4, 0.55, 1.1, 1.1]),
    ("o4-mini", [1.1, 4.4, 0.275, 1.1, 1.1]),
    ("gemini-2-5-pro", [2.5, 15.0, 0.25, 2.5, 4.5]),
    ("gemini-2-5-flash", [0.3, 2.5, 0.03, 0.3, 1.0]),
    ("deepseek-chat", [0.28, 0.42, 0.028, 0.28, 0.28]),
    ("deepseek-reasoner", [0.28, 0.42, 0.028, 0.28, 0.28]),
];

/// What models cost.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    own: BTreeMap<String, Price>,
    /// What every other model costs, instead of the listed prices.
    every: Option<Price>,
}

impl Prices {
    /// The listed prices, with the configuration's in front, by model or by `provider/model`.
    pub fn new(own: BTreeMap<String, Price>) -> Self {
        Self { own, every: None }
    }

    /// Nothing costs anything but what the configuration names.
    pub fn free(own: BTreeMap<String, Price>) -> Self {
        Self { own, every: Some(price([0.0; 5])) }
    }

    /// The price of a model at a provider, if it is known.
    pub fn of(&self, at: &TargetName) -> Option<Price> {
        self.own.get(&at.to_string()).or_else(|| self.own.get(&at.model)).copied().or(self.every).or_else(|| listed(&at.model))
    }
}

/// A price from US dollars per million tokens: input, output, cache read, cache write, cache write
/// for an hour.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and negative prices are refused before")]
pub fn price(dollars: [f64; 5]) -> Price {
    let [input, output, cache_read, cache_write, cache_write_1h] = dollars.map(|dollars| (dollars * 1_000_000.0).round() as u64);
    Price { input, output, cache_read, cache_write, cache_write_1h }
}

/// The same model has several names: with its vendor in front, and with dots in its version.
fn listed(model: &str) -> Option<Price> {
    let name = model.rsplit('/').next().unwrap_or(model).replace(['.', '@'], "-").to_ascii_lowercase();
    let name = name.split(':').next().unwrap_or(&name);
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name.strip_prefix(pattern).is_some_and(is_release),
    };
    LISTED.iter().filter(|(pattern, _)| fits(pattern)).max_by_key(|(pattern, _)| pattern.len()).map(|(_, dollars)| price(*dollars))
}

/// Nothing, `-latest`, or a date.
fn is_release(rest: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    rest.is_empty()
        || rest == "-latest"
        || (rest.starts_with("-20") && digits(rest) == 8 && rest.chars().all(|c| c == '-' || c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_costs_nothing_but_what_the_configuration_names() {
        let own = [("dear".to_owned(), price([1.0; 5]))].into();
        let prices = Prices::free(own);
        assert_eq!(input_of(&prices, "demo", "claude-opus-5"), Some(0));
        assert_eq!(input_of(&prices, "demo", "dear"), Some(1_000_000));
    }

    fn input_of(prices: &Prices, provider: &str, model: &str) -> Option<u64> {
        prices.of(&TargetName { provider: provider.into(), model: model.into() }).map(|price| price.input)
    }

    #[test]
    fn the_longest_name_that_fits_counts() {
        let prices = Prices::default();
        let table = [
            ("claude-opus-5-5", Some(5_000_000)),
            ("claude-opus-4-1-20250805", Some(15_000_000)),
            ("claude-sonnet-5", Some(3_000_000)),
            ("anthropic/claude-sonnet-4.5", Some(3_000_000)),
            ("gpt-5-mini-2025-08-07", Some(250_000)),
            ("gpt-4.1", Some(2_000_000)),
            ("openai/gpt-4.1-nano:free", Some(100_000)),
            ("o3", Some(2_000_000)),
            ("o33", None),
            ("gpt-5.2-pro", None),
            ("gpt-4o-2024-05-13", Some(5_000_000)),
            ("gpt-4o-2024-08-06", Some(2_500_000)),
            ("gpt-4o-realtime-preview", None),
            ("o4-mini-deep-research", None),
            ("claude-opus-4@20250514", Some(15_000_000)),
            ("llama3.2", None),
            ("", None),
        ];
        for (model, expected) in table {
            assert_eq!(input_of(&prices, "p", model), expected, "{model}");
        }
    }

    #[test]
    fn the_configuration_counts_more_and_the_provider_most() {
        let own = |dollars: f64| price([dollars; 5]);
        let prices = Prices::new([("gpt-5".to_owned(), own(7.0)), ("azure/gpt-5".to_owned(), own(0.0))].into());
        assert_eq!(input_of(&prices, "openai", "gpt-5"), Some(7_000_000));
        assert_eq!(input_of(&prices, "azure", "gpt-5"), Some(0));
    }

    #[test]
    fn no_listed_price_is_below_that_of_its_cache() {
        for (name, [input, output, read, write, write_1h]) in LISTED {
            assert!(read <= input && input <= write && write <= write_1h && input <= output, "{name}");
        }
    }
}
