//! What the configuration offers for an agent's model. It is passed into each step, because
//! configuration is no part of the journal; what was made of it is journalled.

use serde::{Deserialize, Serialize};

use crate::cost::Price;

/// The models that may answer, and how large a request of this session is at least.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelPlan {
    /// In order of preference. Empty: none can answer, and `problem` says why.
    pub targets: Vec<ModelTarget>,
    /// Why there is no target, and what to do about it.
    pub problem: Option<String>,
    /// The most tokens of one answer.
    pub max_tokens: u32,
    /// At least the tokens of system prompt and tools.
    pub overhead_tokens: u64,
}

/// A model at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelTarget {
    /// Who is asked.
    pub at: TargetName,
    /// What it costs, if that is known.
    pub price: Option<Price>,
}

/// The name of a model at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TargetName {
    /// The provider, as the configuration calls it.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
}

impl std::fmt::Display for TargetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl ModelPlan {
    /// The highest price of any target; `None` when one is not known.
    pub fn dearest(&self) -> Option<Price> {
        let mut targets = self.targets.iter();
        let first = targets.next()?.price?;
        targets.try_fold(first, |dearest, target| Some(dearest.dearest(&target.price?)))
    }
}
