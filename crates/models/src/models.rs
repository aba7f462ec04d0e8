//! All models of the configuration behind one door: who is asked for an id, and asking, with care
//! for models that are shared.

use std::collections::HashMap;
use std::sync::Arc;

use ostler_core::egress::calls::ProviderKind;
use ostler_core::ids::IdSource;
use ostler_core::model::{ModelError, ModelErrorKind, ModelRequest, ModelResponse};
use ostler_core::session::plan::{ModelTarget, TargetName};
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, CatalogProvider};
use crate::failure::failure;
use crate::gate::{Asker, Gates};
use crate::listing::Said;
use crate::prices::Prices;
use crate::{Model, ModelEvent};

/// The models that sessions may ask.
#[derive(Debug)]
pub struct Models {
    catalog: Catalog,
    adapters: HashMap<String, Arc<dyn Model>>,
    gates: Gates,
    said: Said,
}

impl Models {
    /// The catalog with an adapter for each of its providers, by name.
    pub fn new(catalog: Catalog, adapters: HashMap<String, Arc<dyn Model>>) -> Self {
        Self { catalog, adapters, gates: Gates::default(), said: Said::default() }
    }

    /// One model that answers to every id, under this provider name.
    pub fn single(provider: &str, model: Arc<dyn Model>, prices: Prices) -> Self {
        let only = CatalogProvider { name: provider.to_owned(), kind: ProviderKind::Anthropic, models: Vec::new() };
        // Without routes there is none that could lead nowhere.
        let catalog = Catalog::new(vec![only], std::collections::BTreeMap::new(), prices).unwrap_or_default();
        Self::new(catalog, [(provider.to_owned(), model)].into())
    }

    /// Names and prices.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Who is asked for this id, in order of preference.
    ///
    /// # Errors
    /// When nobody can be; the message says what to do.
    pub fn resolve(&self, id: &str) -> Result<Vec<ModelTarget>, String> {
        self.catalog.resolve(id)
    }

    pub(crate) fn adapter(&self, provider: &str) -> Option<&Arc<dyn Model>> {
        self.adapters.get(provider)
    }

    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    /// Asks a model, whatever model the request names.
    ///
    /// # Errors
    /// As [`Model::answer`]; [`ModelErrorKind::Suspended`] without asking when the model is better left alone.
    pub async fn answer(
        &self,
        target: &TargetName,
        asker: Asker<'_>,
        request: ModelRequest,
        ids: IdSource,
        events: &mut (dyn FnMut(ModelEvent) + Send),
        cancel: CancellationToken,
    ) -> Result<ModelResponse, ModelError> {
        let Some(adapter) = self.adapters.get(&target.provider) else {
            let message = format!("no model provider named {:?} is configured any more; add it or start another session", target.provider);
            return Err(failure(ModelErrorKind::Rejected, &message));
        };
        let pass = self.gates.enter(target, asker, &cancel).await?;
        let request = ModelRequest { model: target.model.clone(), ..request };
        let outcome = adapter.answer(request, ids, events, cancel).await;
        pass.ended(&outcome);
        outcome
    }
}
