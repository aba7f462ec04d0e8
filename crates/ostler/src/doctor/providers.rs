//! Model providers: whether they are found, connected to, and take the key. Asked for their list of
//! models, which costs nothing, in the way that egress asks them.

use ostler_egress::provider::{ProviderError, Providers};
use ostler_egress::{EgressConfig, Machine, StartError};
use ostler_models::ProviderKind;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::time::timeout;

use super::limits;
use super::report::{Finding, quote};
use crate::config::{Provider, Settings};

/// What was seen of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) name: String,
    /// Scheme, host and port of its address.
    pub(super) origin: String,
    pub(super) answer: Answer,
    /// Whether the environment names a proxy for web requests.
    pub(super) is_proxy_named: bool,
}

/// How far a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is no address to ask; the check of its key says why.
    NoAddress,
    NoName(String),
    NoConnection(String),
    NoTls(String),
    Broken(String),
    Silent,
    /// It answered.
    Http {
        status: u16,
        /// The models that it lists, where the answer is a list.
        listed: Option<usize>,
        /// Those of the settings that it does not list.
        missing: Vec<String>,
    },
}

/// What was seen of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Models {
    /// The settings cannot be used.
    Unknown,
    Demo,
    /// `--offline`.
    NotAsked(usize),
    Asked(Vec<Asked>),
}

pub(super) async fn look(settings: Option<&Settings>, is_offline: bool) -> Models {
    let Some(Settings { providers, egress, .. }) = settings else { return Models::Unknown };
    match providers.len() {
        0 => Models::Demo,
        count if is_offline => Models::NotAsked(count),
        _ => Models::Asked(futures::future::join_all(providers.iter().map(|provider| ask(provider, egress))).await),
    }
}

async fn ask(provider: &Provider, egress: &EgressConfig) -> Asked {
    let url = Url::parse(&provider.base_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let origin = url.as_ref().map_or(String::new(), |url| url.origin().ascii_serialization());
    let answer = match url {
        None => Answer::NoAddress,
        Some(_) => timeout(limits::PROVIDER, exchange(provider, egress)).await.unwrap_or(Answer::Silent),
    };
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_proxy_named = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].iter().any(is_set);
    Asked { name: provider.name.clone(), origin, answer, is_proxy_named }
}

async fn exchange(provider: &Provider, egress: &EgressConfig) -> Answer {
    let asked = Machine::read(egress).and_then(|machine| Providers::new(&[provider.for_egress()], &egress.resolve, &machine));
    let providers = match asked {
        Ok(providers) => providers,
        Err(StartError::Provider(_)) => return Answer::NoAddress,
        Err(error) => return Answer::NoTls(error.to_string()),
    };
    let mut headers = HeaderMap::new();
    let path = match provider.kind {
        ProviderKind::Anthropic => {
            headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
            "/v1/models?limit=1000"
        }
        ProviderKind::OpenAi => "/v1/models",
    };
    match providers.get(&provider.name, path, headers, limits::MODEL_LIST_BYTES).await {
        Err(ProviderError::Unknown) => Answer::NoAddress,
        Err(ProviderError::NoName(reason)) => Answer::NoName(reason),
        Err(ProviderError::NoConnection(reason)) => Answer::NoConnection(reason),
        Err(ProviderError::NoTls(reason)) => Answer::NoTls(reason),
        Err(ProviderError::Broken(reason)) => Answer::Broken(reason),
        Ok((status, text)) => {
            let ids = ids(&text);
            let missing = |id: &&String| ids.as_ref().is_some_and(|ids| !ids.contains(id));
            let missing = provider.models.iter().filter(missing).cloned().collect();
            Answer::Http { status, listed: ids.map(|ids| ids.len()), missing }
        }
    }
}

/// The ids of a list of models.
fn ids(text: &[u8]) -> Option<Vec<String>> {
    let list: Value = serde_json::from_slice(text).ok()?;
    Some(list.get("data")?.as_array()?.iter().filter_map(|model| model.get("id")?.as_str()).map(str::to_owned).collect())
}

impl Models {
    pub(super) fn judge(&self) -> Vec<Finding> {
        const NAME: &str = "models";
        match self {
            Self::Unknown => vec![Finding::aside(NAME, "not asked, because the settings cannot be used")],
            Self::Demo => vec![Finding::note(
                NAME,
                "none is configured: the built-in demo model answers, a script, no AI",
                "set ANTHROPIC_API_KEY, OPENAI_API_KEY, OPENROUTER_API_KEY or OLLAMA_HOST, or add a provider to ostler.toml",
            )],
            Self::NotAsked(count) => vec![Finding::aside(NAME, format!("{count} configured, not asked (--offline)"))],
            Self::Asked(all) => all.iter().map(Asked::judge).collect(),
        }
    }
}

impl Asked {
    fn judge(&self) -> Finding {
        let name = format!("model.{}", self.name);
        let origin = quote(&self.origin);
        let proxy = if self.is_proxy_named { "; proxies of the environment are not used" } else { "" };
        let problem = |found: String, remedy: &str| Finding::problem(&name, found, format!("{remedy}{proxy}"));
        let (status, listed, missing) = match &self.answer {
            Answer::NoAddress => {
                return Finding::problem(&name, "not asked, because requests cannot be made", format!("see key.{}", self.name));
            }
            Answer::NoName(error) => {
                return problem(format!("{origin}: the name is not found: {}", quote(error)), "check base_url and this machine's DNS");
            }
            Answer::NoConnection(error) => {
                return problem(
                    format!("{origin} cannot be connected to: {}", quote(error)),
                    "check base_url, that the provider runs, and the firewall",
                );
            }
            Answer::NoTls(error) => {
                return problem(
                    format!("{origin}: no TLS: {}", quote(error)),
                    "check that base_url is an https address, this machine's clock, its certificates (ca-certificates), and who is in between",
                );
            }
            Answer::Broken(error) => {
                return problem(
                    format!("{origin} broke the connection: {}", quote(error)),
                    "check that base_url is the address of a model API",
                );
            }
            Answer::Silent => {
                return problem(
                    format!("{origin} did not answer within {} s", limits::PROVIDER.as_secs()),
                    "check base_url, the firewall and the provider's state",
                );
            }
            Answer::Http { status, listed, missing } => (*status, *listed, missing),
        };
        match (status, listed) {
            (200..=299, Some(_)) if !missing.is_empty() => {
                let found = format!("{origin} answers, and does not list {}", quote(&missing.join(", ")));
                Finding::note(&name, found, "check the ids in the provider's models; the list of the provider says which there are")
            }
            (200..=299, Some(count)) => Finding::ok(&name, format!("{origin} answers and lists {count} models")),
            (200..=299, None) => problem(format!("{origin} answers, but not as a model API"), "check the path of base_url"),
            (401 | 403, _) => problem(format!("{origin} refuses the key ({status})"), "set a key that is valid and may use models"),
            (404 | 405 | 501, _) => Finding::note(
                &name,
                format!("{origin} answers, but lists no models ({status}), so the key is not tried"),
                "check the path of base_url; some providers have no list, then all may be well",
            ),
            (429, _) => Finding::note(
                &name,
                format!("{origin} answers that there were too many requests (429)"),
                "wait, or raise the limits of your account",
            ),
            (300..=399, _) => problem(
                format!("{origin} sends us elsewhere ({status}), where no key is taken"),
                "set base_url to the address that it names",
            ),
            (500.., _) => problem(format!("{origin} is in trouble ({status})"), "see the provider's state, and try again"),
            _ => problem(format!("{origin} refuses the request ({status})"), "check base_url, kind and key of the provider"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn judged(answer: Answer) -> Vec<Finding> {
        let asked = Asked { name: "p".into(), origin: "https://p.test".into(), answer, is_proxy_named: false };
        Models::Asked(vec![asked]).judge()
    }

    #[test]
    fn how_far_a_request_came_decides() {
        let table = [
            (Answer::NoAddress, "not asked", "key.p"),
            (Answer::NoName("unknown".into()), "name is not found", "DNS"),
            (Answer::NoConnection("refused".into()), "refused", "firewall"),
            (Answer::NoTls("bad certificate".into()), "bad certificate", "clock"),
            (Answer::Broken("reset".into()), "reset", "base_url"),
            (Answer::Silent, "within 10 s", "firewall"),
        ];
        for (answer, found, remedy) in table {
            assert_finding(&judged(answer), "model.p", Status::Problem, found, remedy);
        }
    }

    #[test]
    fn what_it_answers_decides() {
        let table = [
            (200, Some(2), Status::Ok, "lists 2 models", ""),
            (200, None, Status::Problem, "not as a model API", "path of base_url"),
            (401, None, Status::Problem, "refuses the key (401)", "valid"),
            (403, None, Status::Problem, "refuses the key (403)", "valid"),
            (404, None, Status::Note, "lists no models", "path of base_url"),
            (429, None, Status::Note, "too many", "wait"),
            (302, None, Status::Problem, "elsewhere", "base_url"),
            (400, None, Status::Problem, "refuses the request (400)", "kind"),
            (529, None, Status::Problem, "in trouble (529)", "try again"),
        ];
        for (status, listed, judged_as, found, remedy) in table {
            assert_finding(&judged(Answer::Http { status, listed, missing: Vec::new() }), "model.p", judged_as, found, remedy);
        }
        let misspelt = Answer::Http { status: 200, listed: Some(2), missing: vec!["qwem".into()] };
        assert_finding(&judged(misspelt), "model.p", Status::Note, "qwem", "ids");
    }

    #[test]
    fn a_proxy_that_is_not_used_is_mentioned_where_it_could_be_the_reason() {
        let asked = Asked { name: "p".into(), origin: "https://p.test".into(), answer: Answer::Silent, is_proxy_named: true };
        assert_finding(&[asked.judge()], "model.p", Status::Problem, "", "proxies of the environment are not used");
    }

    #[test]
    fn nobody_to_ask_is_no_problem() {
        assert_finding(&Models::Demo.judge(), "models", Status::Note, "no AI", "ANTHROPIC_API_KEY");
        assert_finding(&Models::NotAsked(2).judge(), "models", Status::Note, "--offline", "");
        assert_finding(&Models::Unknown.judge(), "models", Status::Note, "settings", "");
    }

    #[test]
    fn a_list_of_models_is_known_as_one() {
        assert_eq!(ids(br#"{"data": [{"id": "a"}, {"no": 1}]}"#), Some(vec!["a".to_owned()]));
        assert_eq!(ids(b"<html>"), None);
        assert_eq!(ids(br#"{"data": 1}"#), None);
    }
}
