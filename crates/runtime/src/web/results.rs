//! What search engines found, in one shape, and as text for the model.

use ostler_core::resources::web::SearchSettings;
use serde::Deserialize;
use url::Url;

use crate::limits;

/// A result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    pub(super) title: Option<String>,
    pub(super) url: Option<String>,
    /// What the page says about it.
    #[serde(alias = "content", alias = "description")]
    pub(super) snippet: Option<String>,
    /// When the page is of, in any words.
    #[serde(alias = "publishedDate")]
    pub(super) age: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct BraveAnswer {
    web: Option<Answer>,
}

/// Results of SearXNG.
pub(super) fn searxng(answer: &[u8]) -> Result<Vec<Found>, serde_json::Error> {
    serde_json::from_slice(answer).map(|answer: Answer| answer.results)
}

/// Results of the Brave Search API; without any it has no part for them.
pub(super) fn brave(answer: &[u8]) -> Result<Vec<Found>, serde_json::Error> {
    serde_json::from_slice(answer).map(|answer: BraveAnswer| answer.web.map(|web| web.results).unwrap_or_default())
}

/// Results of a command: `{"results": [{"title", "url", "snippet", "age"}]}`.
pub(super) fn command(answer: &[u8]) -> Result<Vec<Found>, serde_json::Error> {
    searxng(answer)
}

/// The results that may be shown, numbered.
pub(super) fn shown(found: &[Found], settings: &SearchSettings) -> String {
    let of_page = |one: &Found| {
        let url = Url::parse(one.url.as_deref()?).ok().filter(|url| ["http", "https"].contains(&url.scheme()))?;
        (url.as_str().len() <= limits::WEB_URL_BYTES && settings.allows(&url)).then(|| (url, one.clone()))
    };
    let kept: Vec<(Url, Found)> = found.iter().filter_map(of_page).take(limits::WEB_RESULTS).collect();
    if kept.is_empty() {
        let dropped = if found.is_empty() { "" } else { " What was found is of domains that this agent does not search." };
        return format!("No results.{dropped}");
    }
    let entries = kept.iter().enumerate().map(|(at, (url, one))| {
        let title = one.title.as_deref().map(|title| line(title, limits::WEB_TITLE_CHARS)).filter(|title| !title.is_empty());
        let mut entry = format!("{}. {}\n   {url}", at + 1, title.as_deref().unwrap_or("(no title)"));
        let parts = [(&one.age, limits::WEB_TITLE_CHARS), (&one.snippet, limits::WEB_SNIPPET_CHARS)];
        for text in parts.into_iter().filter_map(|(part, most)| Some(line(part.as_deref()?, most))).filter(|text| !text.is_empty()) {
            entry.push_str("\n   ");
            entry.push_str(&text);
        }
        entry
    });
    entries.collect::<Vec<_>>().join("\n\n")
}

/// A text on one line, without the markup that engines put around words.
fn line(text: &str, most: usize) -> String {
    let plain = text.replace("<strong>", "").replace("</strong>", "");
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(plain, |text, (code, sign)| text.replace(code, sign));
    let words: Vec<&str> = plain.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use ostler_core::resources::web::Domains;

    use super::*;

    #[test]
    fn results_are_numbered_and_those_of_other_domains_dropped() {
        let answer = br#"{"query": "x", "results": [
            {"title": "One &amp; <strong>only</strong>", "url": "https://a.com/1", "content": "about\n one", "publishedDate": "2026-01-02", "engine": "e"},
            {"title": "Two", "url": "https://ads.b.com/2", "content": null},
            {"title": null, "url": "https://c.com/3"},
            {"title": "No page", "url": "javascript:alert(1)"},
            {"title": "Nowhere"}]}"#;
        let found = searxng(answer).unwrap();
        let blocked = Domains { allowed_domains: Vec::new(), blocked_domains: vec!["b.com".into()] };
        assert_eq!(
            shown(&found, &SearchSettings::new(blocked, None)),
            "1. One & only\n   https://a.com/1\n   2026-01-02\n   about one\n\n2. (no title)\n   https://c.com/3"
        );
        let allowed = Domains { allowed_domains: vec!["z.com".into()], blocked_domains: Vec::new() };
        assert!(shown(&found, &SearchSettings::new(allowed, None)).contains("domains that this agent does not search"));
        assert_eq!(shown(&[], &SearchSettings::default()), "No results.");
    }

    #[test]
    fn engines_answer_in_their_own_shapes() {
        let one = brave(br#"{"type": "search", "web": {"results": [{"title": "T", "url": "https://a.com/", "description": "D", "age": "2 days ago"}]}}"#);
        assert_eq!(
            one.unwrap(),
            [Found {
                title: Some("T".into()),
                url: Some("https://a.com/".into()),
                snippet: Some("D".into()),
                age: Some("2 days ago".into())
            }]
        );
        assert_eq!(brave(br#"{"type": "search"}"#).unwrap(), []);
        assert_eq!(command(br#"{"results": [{"url": "u", "snippet": "s"}]}"#).unwrap()[0].snippet.as_deref(), Some("s"));
        assert!(searxng(b"<html>").is_err() && command(b"7").is_err());
    }

    #[test]
    fn long_answers_are_short() {
        let long =
            Found { title: Some("t".repeat(9_999)), url: Some("https://a.com/".into()), snippet: Some("s".repeat(99_999)), age: None };
        let text = shown(&vec![long; 500], &SearchSettings::default());
        assert!(text.len() < 100_000 && text.matches("https://a.com/").count() == limits::WEB_RESULTS, "{}", text.len());
    }
}
