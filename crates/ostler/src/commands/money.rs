//! Dollars as people write them.

use serde_json::{Value, json};

/// A session's budget as the API takes it.
pub(super) fn budget(cents: u64) -> Value {
    json!({"type": "limit", "max_list_cost": {"amount": cents.to_string(), "currency": "USD"}})
}

/// A budget in dollars, or `none`.
pub(crate) fn budget_or_none(text: &str) -> Result<Limit, String> {
    if text == "none" { Ok(Limit(None)) } else { cents(text).map(|cents| Limit(Some(cents))) }
}

/// A limit in cents; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<u64>);

/// Whole cents as people read them.
pub(super) fn dollars(cents: u64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

/// Whole cents of an amount in dollars, such as `1.50`; at most two decimals, more than nothing.
pub(crate) fn cents(text: &str) -> Result<u64, String> {
    let wrong = || "say an amount in dollars with at most two decimals, such as 1.50".to_owned();
    let amount = text.strip_prefix('$').unwrap_or(text);
    let (whole, decimals) = amount.split_once('.').unwrap_or((amount, "00"));
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return Err(wrong());
    }
    let fraction: u64 = format!("{decimals:0<2}").parse().map_err(|_| wrong())?;
    let cents = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(100)?.checked_add(fraction));
    match cents {
        Some(0) => Err("a budget must be more than nothing".to_owned()),
        Some(cents) => Ok(cents),
        None => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::cents;

    #[test]
    fn dollars_become_whole_cents() {
        for (text, expected) in [("1.50", 150), ("1.5", 150), ("25", 2_500), ("$0.01", 1), ("007", 700)] {
            assert_eq!(cents(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "0", "0.00", "1.505", "1.", ".5", "-1", "+1", "1e3", "1,50", "99999999999999999999", "184467440737095517"] {
            assert!(cents(text).is_err(), "{text}");
        }
    }
}
