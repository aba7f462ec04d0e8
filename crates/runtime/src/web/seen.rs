//! Whether an address stands in the conversation, where the agent may take addresses from. It is looked for in the messages that
//! the model was shown, which are in memory for its next request anyhow; nothing is kept for it.

use std::collections::HashMap;

use ostler_core::model::Fragment;
use ostler_core::resources::tools::{Tool, has_custom};
use ostler_core::resources::web::{Source, UrlSources, WEB_FETCH, WEB_SEARCH};
use serde_json::Value;
use url::Url;

/// Signs that may stand behind an address without being part of it.
const BEHIND: [char; 15] = ['.', ',', ';', ':', '!', '?', ')', ']', '}', '*', '_', '\'', '"', '>', '|'];

/// Whether this address was shown, by one of these sources.
pub(super) fn is_seen(messages: &[Fragment], tools: &[Tool], sources: &UrlSources, url: &Url) -> bool {
    let mut names: HashMap<String, String> = HashMap::new();
    messages.iter().any(|message| {
        let Ok(message) = serde_json::from_str::<Value>(message.text()) else { return false };
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        if message["role"] == "assistant" {
            // What the model says itself is no source; who its results are of is said here.
            let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
            names.extend(calls.filter_map(|call| Some((call["id"].as_str()?.to_owned(), call["name"].as_str()?.to_owned()))));
            return false;
        }
        blocks.iter().any(|block| match block["type"].as_str() {
            Some("text") => sources.allow(Source::User) && stands_in(texts(block), None, url),
            Some("tool_result") => {
                let name = block["tool_use_id"].as_str().and_then(|id| names.get(id)).map(String::as_str).unwrap_or_default();
                let source = match name {
                    WEB_FETCH | WEB_SEARCH => Source::Server(name),
                    name if has_custom(tools, name) => Source::Client(name),
                    _ => return false,
                };
                let content = block["content"].as_array().map(Vec::as_slice).unwrap_or_default();
                sources.allow(source) && content.iter().any(|part| stands_in(texts(part), base(name, part).as_ref(), url))
            }
            _ => false,
        })
    })
}

fn texts(block: &Value) -> &str {
    block["text"].as_str().unwrap_or_default()
}

/// The address of a fetched page, to which its links are relative.
fn base(name: &str, part: &Value) -> Option<Url> {
    let first = texts(part).lines().next()?;
    Url::parse(first.strip_prefix("URL: ").filter(|_| name == WEB_FETCH)?).ok()
}

fn stands_in(text: &str, base: Option<&Url>, url: &Url) -> bool {
    let is_it = |written: &str| {
        let whole = Url::parse(written).ok().filter(Url::has_host);
        let bare = || Url::parse(&format!("https://{written}")).ok().filter(|_| written.contains('.'));
        whole.or_else(bare).is_some_and(|found| is_same(&found, url))
    };
    let is_link = |target: &str| base.and_then(|base| base.join(target).ok()).is_some_and(|found| is_same(&found, url));
    let ends = |c: char| c.is_whitespace() || ['<', '>', '"', '`'].contains(&c);
    text.split(ends).filter(|word| !word.is_empty()).any(|word| {
        // In `[words](address)` the address is what the last bracket opens.
        let inner = word.rsplit_once("](").map(|(_, target)| target.split(')').next().unwrap_or_default());
        inner.is_some_and(|target| is_it(target) || is_link(target))
            || forms(word).any(is_it)
            || word.find("http").is_some_and(|at| forms(&word[at..]).any(is_it))
    })
}

/// A word as it is, and without what stands around it.
fn forms(word: &str) -> impl Iterator<Item = &str> {
    let word = word.trim_start_matches(['(', '[', '{', '\'', '*', '_', '|']);
    std::iter::successors(Some(word), |word| word.strip_suffix(BEHIND)).take(BEHIND.len())
}

/// Whether two addresses name one page. A page without TLS is the one with it: models write the one for the other.
fn is_same(a: &Url, b: &Url) -> bool {
    let usual = |url: &Url| url.port().filter(|port| ![80, 443].contains(port));
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    a.host_str().map(|host| host.trim_end_matches('.')) == b.host_str().map(|host| host.trim_end_matches('.'))
        && usual(a) == usual(b)
        && path(a) == path(b)
        && a.query() == b.query()
}

#[cfg(test)]
mod tests {
    use ostler_core::resources::web::SourceFilter;
    use serde_json::json;

    use super::*;

    fn said(text: &str) -> Vec<Fragment> {
        vec![Fragment::new(json!({"role": "user", "content": [{"type": "text", "text": text}]}).to_string())]
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_address_is_found_however_it_is_written() {
        for (text, address, expected) in [
            ("see https://a.com/x.", "https://a.com/x", true),
            ("see (https://a.com/x), please", "https://a.com/x", true),
            ("[words](https://a.com/x)", "https://a.com/x", true),
            ("<https://a.com/x>", "https://a.com/x", true),
            ("**https://a.com/x**", "https://a.com/x", true),
            ("wiki https://a.com/Foo_(bar)", "https://a.com/Foo_(bar)", true),
            ("HTTPS://A.com/x", "https://a.com/x", true),
            ("look at a.com/x", "https://a.com/x", true),
            ("look at a.com", "https://a.com/", true),
            ("http://a.com/x", "https://a.com/x", true),
            ("link:https://a.com/x", "https://a.com/x", true),
            ("https://a.com/x?y=1#part", "https://a.com/x?y=1", true),
            ("https://a.com/x", "https://a.com/x?secret", false),
            ("https://a.com/x", "https://a.com/y", false),
            ("https://a.com/x", "https://b.com/x", false),
            ("https://a.com/x", "https://a.com:8443/x", false),
            ("nothing", "https://nothing/", false),
        ] {
            assert_eq!(is_seen(&said(text), &[], &UrlSources::default(), &url(address)), expected, "{text} {address}");
        }
    }

    #[test]
    fn only_allowed_sources_count_and_never_the_model_itself() {
        let tools: Vec<Tool> =
            serde_json::from_value(json!([{"type": "custom", "name": "mine", "description": "d", "input_schema": {"type": "object"}}]))
                .unwrap();
        let call = |id: &str, name: &str| json!({"type": "tool_use", "id": id, "name": name, "input": {"url": "https://model.com/"}});
        let result = |id: &str, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": text}]});
        let messages = [
            json!({"role": "user", "content": [{"type": "text", "text": "https://user.com/"}]}),
            json!({"role": "assistant", "content": [{"type": "text", "text": "https://model.com/"}, call("1", "web_search"), call("2", "mine"), call("3", "bash"), call("4", "web_fetch")]}),
            json!({"role": "user", "content": [
                result("1", "1. T\n   https://found.com/"), result("2", "https://mine.com/"), result("3", "https://bash.com/"),
                result("4", "URL: https://page.com/a/b\n\n[up](../c) [out](https://out.com/)")]}),
        ];
        let messages: Vec<Fragment> = messages.iter().map(|message| Fragment::new(message.to_string())).collect();
        let all = UrlSources::default();
        let no_results = UrlSources { server_tool_results: Some(SourceFilter::None), ..UrlSources::default() };
        let no_user =
            UrlSources { user_input: Some(SourceFilter::None), client_tool_results: Some(SourceFilter::None), ..UrlSources::default() };
        for (address, by_all, without_results, without_user) in [
            ("https://user.com/", true, true, false),
            ("https://found.com/", true, false, true),
            ("https://mine.com/", true, true, false),
            ("https://page.com/a/b", true, false, true),
            ("https://page.com/c", true, false, true),
            ("https://out.com/", true, false, true),
            ("https://bash.com/", false, false, false),
            ("https://model.com/", false, false, false),
        ] {
            for (sources, expected) in [(&all, by_all), (&no_results, without_results), (&no_user, without_user)] {
                assert_eq!(is_seen(&messages, &tools, sources, &url(address)), expected, "{address} {sources:?}");
            }
        }
    }
}
