//! The search engines that can be configured, and their words.

use http::HeaderValue;
use ostler_core::egress::calls::{LOCATION, SEARCH_PATH};
use ostler_core::resources::web::SearchSettings;
use url::form_urlencoded::Serializer;

use super::results::{self, Found};
use crate::limits;

/// Who is asked when something is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// A SearXNG instance, which egress knows.
    Searxng,
    /// The Brave Search API, whose key egress has.
    Brave,
    /// A program with its arguments: it is given the query and prints results, both JSON.
    Command(Vec<String>),
}

/// The question to an engine behind egress: a request without a body.
pub(super) fn question(engine: &Engine, query: &str, settings: &SearchSettings) -> http::request::Builder {
    let words = with_sites(query, settings);
    let mut form = Serializer::new(String::new());
    form.append_pair("q", &words);
    let mut headers = Vec::new();
    match engine {
        Engine::Brave => {
            form.append_pair("count", &limits::WEB_RESULTS.to_string());
            if let Some(place) = &settings.user_location {
                if let Some(country) = &place.country {
                    form.append_pair("country", country);
                }
                let named =
                    [("country", &place.country), ("city", &place.city), ("state-name", &place.region), ("timezone", &place.timezone)];
                headers.extend(named.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value.as_deref()?).ok()?))));
            }
        }
        Engine::Searxng | Engine::Command(_) => {
            form.append_pair("format", "json");
        }
    }
    let request = http::Request::get(format!("{SEARCH_PATH}?{}", form.finish()));
    headers.into_iter().fold(request, |request, (name, value)| request.header(format!("{LOCATION}{name}"), value))
}

/// The results in an answer.
pub(super) fn results(engine: &Engine, answer: &[u8]) -> Result<Vec<Found>, serde_json::Error> {
    match engine {
        Engine::Searxng => results::searxng(answer),
        Engine::Brave => results::brave(answer),
        Engine::Command(_) => results::command(answer),
    }
}

/// The query with the agent's domains in words that engines know, so that what is dropped afterwards is little.
fn with_sites(query: &str, settings: &SearchSettings) -> String {
    let domains = settings.domains();
    let mut words = query.to_owned();
    let few = |list: &[String]| (1..=limits::WEB_SITES).contains(&list.len());
    if few(&domains.allowed_domains) {
        let sites: Vec<String> = domains.allowed_domains.iter().map(|site| format!("site:{site}")).collect();
        words.push(' ');
        words.push_str(&sites.join(" OR "));
    }
    if few(&domains.blocked_domains) {
        domains.blocked_domains.iter().for_each(|site| words.push_str(&format!(" -site:{site}")));
    }
    words
}

#[cfg(test)]
mod tests {
    use ostler_core::resources::web::{Domains, LocationKind, UserLocation};

    use super::*;

    fn asked(engine: &Engine, settings: &SearchSettings) -> String {
        let request = question(engine, "caf\u{e9} & co", settings).body(()).unwrap();
        let headers: Vec<String> = request.headers().iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        format!("{} {}", request.uri(), headers.join(" "))
    }

    #[test]
    fn engines_are_asked_in_their_own_words() {
        let domains = Domains { allowed_domains: vec!["a.com".into(), "b.com/x".into()], blocked_domains: Vec::new() };
        let place = UserLocation {
            kind: LocationKind::Approximate,
            city: Some("Bonn".into()),
            country: Some("DE".into()),
            region: Some("S\u{fc}d\nx".into()),
            timezone: None,
        };
        let settings = SearchSettings::new(domains, Some(place));
        assert_eq!(asked(&Engine::Searxng, &settings), "/search?q=caf%C3%A9+%26+co+site%3Aa.com+OR+site%3Ab.com%2Fx&format=json ");
        assert_eq!(
            asked(&Engine::Brave, &settings),
            "/search?q=caf%C3%A9+%26+co+site%3Aa.com+OR+site%3Ab.com%2Fx&count=20&country=DE x-loc-country=DE x-loc-city=Bonn"
        );
        let blocked = Domains { allowed_domains: Vec::new(), blocked_domains: vec!["c.com".into()] };
        assert_eq!(asked(&Engine::Searxng, &SearchSettings::new(blocked, None)), "/search?q=caf%C3%A9+%26+co+-site%3Ac.com&format=json ");
        assert_eq!(asked(&Engine::Brave, &SearchSettings::default()), "/search?q=caf%C3%A9+%26+co&count=20 ");
    }
}
