//! Budgets: the most list cost that a session may reach.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cost::Cost;
use crate::error::Refusal;

/// The most digits of an amount: ten million dollars and a cent more than enough.
const AMOUNT_DIGITS: usize = 10;

/// An amount of money on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MonetaryAmount {
    /// Whole cents as a decimal number without leading zeros: `"2500"` is 25 dollars.
    pub amount: String,
    /// The only one.
    pub currency: Currency,
}

/// A currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Currency {
    /// US dollars.
    #[serde(rename = "USD")]
    Usd,
}

impl From<Cost> for MonetaryAmount {
    /// Rounded down to whole cents.
    fn from(cost: Cost) -> Self {
        Self { amount: cost.cents().to_string(), currency: Currency::Usd }
    }
}

/// A budget that is a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetLimit {
    /// Always `limit`.
    #[serde(rename = "type")]
    pub kind: BudgetKind,
    /// The most list cost.
    pub max_list_cost: MonetaryAmount,
}

/// The kind of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetKind {
    /// The only one.
    Limit,
}

impl BudgetLimit {
    /// A limit of so many cents.
    pub fn of_cents(cents: u64) -> Self {
        Self { kind: BudgetKind::Limit, max_list_cost: MonetaryAmount { amount: cents.to_string(), currency: Currency::Usd } }
    }

    /// The limit as a cost.
    ///
    /// # Errors
    /// When the amount is not a positive number of whole cents; `field` names it.
    pub fn cap(&self, field: &str) -> Result<Cost, Refusal> {
        let amount = &self.max_list_cost.amount;
        let digits = amount.len() <= AMOUNT_DIGITS && amount.bytes().all(|byte| byte.is_ascii_digit()) && !amount.starts_with('0');
        match amount.parse::<u64>() {
            Ok(cents) if digits => Ok(Cost::from_cents(cents)),
            _ => Err(Refusal::invalid(format!(
                "{field}.max_list_cost.amount: {:?} is not a positive whole number of cents without leading zeros, such as \"2500\" for 25 dollars",
                amount.chars().take(40).collect::<String>()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_positive_whole_cents() {
        let cap = |amount: &str| {
            let mut budget = BudgetLimit::of_cents(1);
            amount.clone_into(&mut budget.max_list_cost.amount);
            budget.cap("budget").ok()
        };
        assert_eq!(cap("2500"), Some(Cost::from_cents(2_500)));
        assert_eq!(cap("1"), Some(Cost(10_000_000)));
        for wrong in ["", "0", "-1", "+1", "25.00", "01", " 1", "1 ", "1e3", "９", "99999999999", "abc"] {
            assert_eq!(cap(wrong), None, "{wrong:?}");
        }
    }
}
