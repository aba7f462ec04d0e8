//! Which models there are, and who is asked for a model id. Pure: configuration in, names out.

use std::collections::BTreeMap;

use ostler_core::egress::calls::ProviderKind;
use ostler_core::session::plan::{ModelTarget, TargetName};

use crate::prices::Prices;

/// Where the models of a family come from, by the beginning of their ids.
const FAMILIES: [(&str, &str); 6] =
    [("claude-", "anthropic"), ("gpt-", "openai"), ("chatgpt-", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai")];
/// The provider whose ids have a vendor in front.
const AGGREGATOR: &str = "openrouter";

/// A provider as far as choosing one goes.
#[derive(Debug, Clone)]
pub struct CatalogProvider {
    /// Its name in the configuration.
    pub name: String,
    /// Its dialect.
    pub kind: ProviderKind,
    /// The ids that it serves, as far as the configuration says.
    pub models: Vec<String>,
}

/// Every configured provider and model.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    providers: Vec<CatalogProvider>,
    /// For a model id, who is asked instead, in order: each a `provider/model` or a model id.
    routes: BTreeMap<String, Vec<String>>,
    prices: Prices,
}

impl Catalog {
    /// From the configuration.
    ///
    /// # Errors
    /// When a route leads nowhere; the message says which and what to do.
    pub fn new(providers: Vec<CatalogProvider>, routes: BTreeMap<String, Vec<String>>, prices: Prices) -> Result<Self, String> {
        let catalog = Self { providers, routes, prices };
        for (id, targets) in &catalog.routes {
            if targets.is_empty() {
                return Err(format!("models.{id:?}: targets is empty; name at least one \"provider/model\""));
            }
            catalog.resolve(id).map_err(|why| format!("models.{id:?}: {why}"))?;
        }
        Ok(catalog)
    }

    /// Who is asked for this id, in order of preference.
    ///
    /// # Errors
    /// When nobody can be; the message says what to do.
    pub fn resolve(&self, id: &str) -> Result<Vec<ModelTarget>, String> {
        let targets = match self.routes.get(id) {
            Some(route) => route.iter().map(|target| self.find(target)).collect::<Result<Vec<_>, _>>()?,
            None => vec![self.find(id)?],
        };
        Ok(targets.into_iter().map(|at| ModelTarget { price: self.prices.of(&at), at }).collect())
    }

    /// The providers.
    pub fn providers(&self) -> &[CatalogProvider] {
        &self.providers
    }

    /// The ids that have a route.
    pub fn routed(&self) -> impl Iterator<Item = &str> {
        self.routes.keys().map(String::as_str)
    }

    /// The id by which a model of a provider can be asked for.
    pub fn id_of(&self, provider: &str, model: &str) -> String {
        let plain = self.find(model).is_ok_and(|found| found.provider == provider && found.model == model);
        if plain { model.to_owned() } else { format!("{provider}/{model}") }
    }

    fn find(&self, id: &str) -> Result<TargetName, String> {
        let target = |provider: &CatalogProvider, model: &str| TargetName { provider: provider.name.clone(), model: model.to_owned() };
        if let Some((name, model)) = id.split_once('/')
            && let Some(provider) = self.named(name)
            && !model.is_empty()
        {
            return Ok(target(provider, model));
        }
        if let [only] = self.providers.as_slice() {
            return Ok(target(only, id));
        }
        if let Some(provider) = self.providers.iter().find(|provider| provider.models.iter().any(|model| model == id)) {
            return Ok(target(provider, id));
        }
        let family = FAMILIES.iter().find(|(start, _)| id.starts_with(start)).and_then(|(_, name)| self.named(name));
        let aggregated = || id.contains('/').then(|| self.named(AGGREGATOR)).flatten();
        if let Some(provider) = family.or_else(aggregated) {
            return Ok(target(provider, id));
        }
        let names: Vec<&str> = self.providers.iter().map(|provider| provider.name.as_str()).collect();
        Err(match names.is_empty() {
            true => "no model provider is configured".to_owned(),
            false => format!(
                "nobody knows which provider serves the model {id:?}: say \"provider/{id}\" with one of {}, or list it under that provider's models",
                names.join(", ")
            ),
        })
    }

    fn named(&self, name: &str) -> Option<&CatalogProvider> {
        self.providers.iter().find(|provider| provider.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(names: &[&str], routes: &[(&str, &[&str])]) -> Result<Catalog, String> {
        let provider = |name: &&str| CatalogProvider {
            name: (*name).to_owned(),
            kind: ProviderKind::Anthropic,
            models: if *name == "local" { vec!["llama3.2".to_owned(), "gpt-oss:20b".to_owned()] } else { Vec::new() },
        };
        let routes = routes.iter().map(|(id, targets)| ((*id).to_owned(), targets.iter().map(|target| (*target).to_owned()).collect()));
        Catalog::new(names.iter().map(provider).collect(), routes.collect(), Prices::default())
    }

    fn names(catalog: &Catalog, id: &str) -> String {
        match catalog.resolve(id) {
            Ok(targets) => targets.iter().map(|target| target.at.to_string()).collect::<Vec<_>>().join(" "),
            Err(_) => "nobody".to_owned(),
        }
    }

    #[test]
    fn one_provider_gets_every_id() {
        let one = catalog(&["anthropic"], &[]).unwrap();
        assert_eq!(names(&one, "gpt-5"), "anthropic/gpt-5");
        assert_eq!(names(&one, "anthropic/claude-sonnet-5"), "anthropic/claude-sonnet-5");
        assert_eq!(names(&one, "meta/llama"), "anthropic/meta/llama");
    }

    #[test]
    fn among_several_the_name_the_list_and_the_family_decide() {
        let many = catalog(&["anthropic", "openai", "openrouter", "local"], &[]).unwrap();
        let table = [
            ("claude-opus-5-5", "anthropic/claude-opus-5-5"),
            ("gpt-5-mini", "openai/gpt-5-mini"),
            ("o4-mini", "openai/o4-mini"),
            ("local/any", "local/any"),
            ("llama3.2", "local/llama3.2"),
            ("gpt-oss:20b", "local/gpt-oss:20b"),
            ("openrouter/anthropic/claude-opus-4.1", "openrouter/anthropic/claude-opus-4.1"),
            ("meta-llama/llama-3", "openrouter/meta-llama/llama-3"),
            ("anthropic/claude-x", "anthropic/claude-x"),
            ("mystery", "nobody"),
            ("local/", "openrouter/local/"),
        ];
        for (id, expected) in table {
            assert_eq!(names(&many, id), expected, "{id}");
        }
        assert!(many.resolve("mystery").unwrap_err().contains("anthropic, openai, openrouter, local"));
    }

    #[test]
    fn a_route_is_an_ordered_list() {
        let many = catalog(&["anthropic", "openai"], &[("fast", &["claude-haiku-4-5", "openai/gpt-5-mini"])]).unwrap();
        assert_eq!(names(&many, "fast"), "anthropic/claude-haiku-4-5 openai/gpt-5-mini");
        assert!(catalog(&["anthropic", "openai"], &[("fast", &["mystery"])]).is_err());
        assert!(catalog(&["anthropic"], &[("fast", &[])]).unwrap_err().contains("fast"));
        assert_eq!(catalog(&[], &[]).unwrap().resolve("x").unwrap_err(), "no model provider is configured");
    }

    #[test]
    fn a_listed_id_leads_back_to_its_provider() {
        let many = catalog(&["anthropic", "local"], &[]).unwrap();
        assert_eq!(many.id_of("anthropic", "claude-opus-5-5"), "claude-opus-5-5");
        assert_eq!(many.id_of("local", "mistral"), "local/mistral");
        for (provider, model) in [("anthropic", "claude-opus-5-5"), ("local", "mistral"), ("local", "llama3.2")] {
            assert_eq!(names(&many, &many.id_of(provider, model)), format!("{provider}/{model}"));
        }
    }
}
