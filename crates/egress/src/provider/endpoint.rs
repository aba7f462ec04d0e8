//! Where a provider's requests go, and the header that its key travels in.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri, header};
use ostler_core::egress::calls::ProviderKind;
use url::Url;

use super::{ProviderConfig, ProviderSetupError};
use crate::grants;
use crate::replace::Table;

/// A provider, checked.
pub(super) struct Endpoint {
    base: String,
    /// Whether the base names the version, so that paths do not.
    is_versioned: bool,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// What is taken out of errors.
    pub(super) scrubs: Arc<Table>,
}

impl Endpoint {
    pub(super) fn of(provider: &ProviderConfig) -> Result<Self, ProviderSetupError> {
        let bad_url = |reason: &str| ProviderSetupError::BaseUrl { name: provider.name.clone(), reason: reason.to_owned() };
        let url = Url::parse(&provider.base_url).map_err(|error| bad_url(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad_url("its scheme is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad_url("it carries credentials"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad_url("it has a query or a fragment"));
        }
        let base = url.as_str().trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).to_owned();
        let is_versioned = provider.kind == ProviderKind::OpenAi
            && !url.path().trim_end_matches('/').ends_with("/v1")
            && url.path_segments().is_some_and(|mut segments| segments.any(is_version));
        let endpoint = Self {
            base,
            is_versioned,
            header: key_header(provider)?,
            scrubs: Arc::new(Table::new(grants::forms_of(provider.key.as_bytes(), b"[redacted]"))),
        };
        endpoint.at("/v1/models").map(|_| endpoint).ok_or_else(|| bad_url("it cannot be written into a request"))
    }

    /// The address of a path.
    pub(super) fn at(&self, path: &str) -> Option<Uri> {
        let path = if self.is_versioned { path.strip_prefix("/v1").unwrap_or(path) } else { path };
        // Without its slash a path would go on with the host's name.
        path.starts_with('/').then(|| format!("{}{path}", self.base).parse().ok()).flatten()
    }
}

fn key_header(provider: &ProviderConfig) -> Result<Option<(HeaderName, HeaderValue)>, ProviderSetupError> {
    if provider.key.is_empty() {
        return Ok(None);
    }
    let (name, prefix) = match provider.kind {
        ProviderKind::Anthropic => (HeaderName::from_static("x-api-key"), ""),
        ProviderKind::OpenAi => (header::AUTHORIZATION, "Bearer "),
    };
    let value = zeroize::Zeroizing::new(format!("{prefix}{}", provider.key.as_str()));
    let mut value = HeaderValue::from_str(&value).map_err(|_| ProviderSetupError::Key { name: provider.name.clone() })?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

/// `v1`, `v4`, `v1beta`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    fn provider(base_url: &str, key: &str) -> ProviderConfig {
        ProviderConfig { name: "main".into(), base_url: base_url.into(), kind: ProviderKind::Anthropic, key: key.to_owned().into() }
    }

    #[test]
    fn unusable_providers_are_refused_without_showing_the_key() {
        for url in ["ftp://host", "not a url", "http://user:pw@host", "http://host/?q=1", "http://host/#f"] {
            let error = check(&[provider(url, "sk-1")]).unwrap_err();
            assert!(matches!(error, ProviderSetupError::BaseUrl { .. }), "{url}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        let error = check(&[provider("http://host", "sk\nhidden")]).unwrap_err();
        assert!(!error.to_string().contains("hidden"));
        assert!(!format!("{:?}", provider("http://host", "sk-hidden")).contains("hidden"));
        let error = check(&[provider("http://host", "a"), provider("http://host", "b")]).unwrap_err();
        assert!(matches!(error, ProviderSetupError::Duplicate { .. }));
    }

    #[test]
    fn a_base_url_may_end_in_a_slash_or_the_version() {
        for url in ["http://host", "http://host/", "http://host/v1", "http://host/v1/"] {
            assert_eq!(Endpoint::of(&provider(url, "")).unwrap().at("/v1/messages").unwrap(), "http://host/v1/messages");
        }
    }

    #[test]
    fn chat_completions_are_found_below_any_version() {
        let table = [
            ("http://host", "http://host/v1/x"),
            ("http://host/v1/", "http://host/v1/x"),
            ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/x"),
            ("https://host/api", "https://host/api/v1/x"),
            ("https://host/api/paas/v4/", "https://host/api/paas/v4/x"),
            ("https://host/v1beta/openai", "https://host/v1beta/openai/x"),
            ("https://host/v1/openai", "https://host/v1/openai/x"),
            ("https://host/vllm", "https://host/vllm/v1/x"),
        ];
        for (url, expected) in table {
            let found = Endpoint::of(&ProviderConfig { kind: ProviderKind::OpenAi, ..provider(url, "sk-1") }).unwrap();
            assert_eq!(found.at("/v1/x").unwrap(), expected, "{url}");
            assert_eq!(found.header.unwrap(), (header::AUTHORIZATION, HeaderValue::from_static("Bearer sk-1")));
        }
        assert_eq!(Endpoint::of(&provider("http://host/v2", "")).unwrap().at("/v1/x").unwrap(), "http://host/v2/v1/x");
    }

    #[test]
    fn no_path_leads_to_another_host() {
        let endpoint = Endpoint::of(&provider("http://host", "sk-1")).unwrap();
        assert_eq!(endpoint.at(".evil.test/"), None);
        assert_eq!(endpoint.at("@evil.test/"), None);
        assert_eq!(endpoint.at("//evil.test/").unwrap().host(), Some("host"));
    }
}
