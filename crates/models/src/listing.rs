//! Which models can be asked for: what the configuration names, and what providers say that they
//! serve. What a provider said is kept for a while, so that a list costs no round trips.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Instant, timeout};

use crate::limits::{LISTED_MODELS, LISTING_KEPT, LISTING_TIMEOUT};
use crate::models::Models;

/// A model that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// What an agent names.
    pub id: String,
    /// Who serves it; for a list of models, all of them in order.
    pub providers: Vec<String>,
}

/// What providers said, and when.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<BTreeMap<String, (Instant, Vec<String>)>>);

impl Models {
    /// Every model that is known to be there, by id. A provider that does not say what it serves is
    /// represented by what the configuration lists of it.
    pub async fn list(&self) -> Vec<ListedModel> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let asked = self.catalog().providers().iter().map(|provider| async {
            let mut models = provider.models.clone();
            models.extend(self.said_by(&provider.name).await);
            (provider.name.clone(), models)
        });
        for (provider, models) in futures::future::join_all(asked).await {
            for model in models.into_iter().take(LISTED_MODELS) {
                found.insert(self.catalog().id_of(&provider, &model), vec![provider.clone()]);
            }
        }
        for id in self.catalog().routed() {
            let targets = self.resolve(id).unwrap_or_default();
            found.insert(id.to_owned(), targets.into_iter().map(|target| target.at.provider).collect());
        }
        found.into_iter().map(|(id, providers)| ListedModel { id, providers }).collect()
    }

    async fn said_by(&self, provider: &str) -> Vec<String> {
        let known = {
            let said = self.said().0.lock().unwrap_or_else(PoisonError::into_inner);
            said.get(provider).filter(|(at, _)| at.elapsed() < LISTING_KEPT).map(|(_, models)| models.clone())
        };
        if let Some(models) = known {
            return models;
        }
        let Some(adapter) = self.adapter(provider) else { return Vec::new() };
        let answer = timeout(LISTING_TIMEOUT, adapter.models()).await;
        let mut said = self.said().0.lock().unwrap_or_else(PoisonError::into_inner);
        // What it said before is better than nothing.
        let before = || said.get(provider).map(|(_, models)| models.clone()).unwrap_or_default();
        let models = match answer {
            Ok(Ok(models)) => models,
            Ok(Err(error)) => {
                tracing::warn!(provider, %error, "a provider does not say which models it serves");
                before()
            }
            Err(_) => {
                tracing::warn!(provider, "a provider does not say in time which models it serves");
                before()
            }
        };
        said.insert(provider.to_owned(), (Instant::now(), models.clone()));
        models
    }
}

/// The ids in a list of models as Anthropic, OpenAI and those like them give it: `{"data": [{"id"}]}`.
pub(crate) fn ids(list: &serde_json::Value) -> Vec<String> {
    let models = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    models.iter().filter_map(|model| model["id"].as_str()).filter(|id| !id.is_empty() && id.len() <= 256).map(str::to_owned).collect()
}
