//! `web_fetch` up to the bytes of the page: which address, which redirects, and what egress brought. The sandbox makes text of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, header};
use ostler_core::egress::calls::{CALL, PAGE_PATH, SESSION, URL};
use ostler_core::egress::policy::Code;
use ostler_core::ids::EventId;
use ostler_core::resources::web::FetchSettings;
use ostler_core::session::calls::Call;
use serde_json::{Map, Value, json};
use url::Url;

use super::ask::{self, Unanswered};
use super::{Behalf, seen};
use crate::limits;
use crate::session::deps::Deps;
use crate::turns::Place;

/// A page, for the sandbox.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The input of [`ostler_sandbox::PAGE`].
    pub(crate) input: Value,
    /// Held for as long as it is in memory.
    pub(crate) place: Place,
}

/// Fetches what the model names. Errors are for the model.
pub(crate) async fn page(deps: &Deps, behalf: &Behalf, call: &Call) -> Result<Fetched, String> {
    let settings = FetchSettings::of(&behalf.agent.tools);
    let url = asked(&call.input)?;
    allowed(&settings, &url)?;
    if let Some(sources) = &settings.url_sources
        && !seen::is_seen(&behalf.messages, &behalf.agent.tools, sources, &url)
    {
        return Err(
            "url_not_allowed: only addresses that appeared in this conversation, where its agent may take them from, can be fetched."
                .into(),
        );
    }
    let turn = tokio::time::timeout(limits::WEB_TURN, deps.web.pages.take(&behalf.workspace)).await;
    let place = turn.map_err(|_| "too_many_requests: the server fetches for others; try again later.".to_owned())?;
    let reading = tokio::time::timeout(limits::WEB_FETCH, followed(deps, behalf, &call.id, &settings, url));
    let input = reading.await.map_err(|_| format!("url_not_accessible: it took more than {} seconds.", limits::WEB_FETCH.as_secs()))??;
    Ok(Fetched { input, place })
}

/// The input of [`ostler_sandbox::PAGE`] for what is found at the end of all redirects.
async fn followed(deps: &Deps, behalf: &Behalf, call: &EventId, settings: &FetchSettings, mut url: Url) -> Result<Value, String> {
    for _ in 0..=limits::WEB_REDIRECTS {
        let request = Request::get(PAGE_PATH).header(URL, url.as_str()).header(SESSION, behalf.session.as_str());
        let request = request.header(CALL, call.as_str());
        let response = ask::ask(deps.egress.calls(), request).await.map_err(|unanswered| refused(&url, unanswered))?;
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(next) = text(header::LOCATION).filter(|_| [301, 302, 303, 307, 308].contains(&response.status().as_u16())) {
            url = redirected(settings, &url, next)?;
            continue;
        }
        if !response.status().is_success() {
            return Err(format!("url_not_accessible: {} answered {}.", host(&url), response.status()));
        }
        let content_type: String = text(header::CONTENT_TYPE).unwrap_or_default().chars().take(limits::WEB_TITLE_CHARS).collect();
        let most = settings.max_content_tokens.map(|tokens| tokens.saturating_mul(limits::BYTES_PER_TOKEN));
        let content = STANDARD.encode(response.body());
        return Ok(json!({"url": url.as_str(), "content_type": content_type, "content": content, "max_bytes": most}));
    }
    Err(format!("url_not_accessible: there were more than {} redirects.", limits::WEB_REDIRECTS))
}

/// The address that the model names.
fn asked(input: &Map<String, Value>) -> Result<Url, String> {
    let text = input.get("url").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if text.len() > limits::WEB_URL_BYTES {
        return Err(format!("url_too_long: an address has at most {} bytes.", limits::WEB_URL_BYTES));
    }
    let url = Url::parse(text).map_err(|_| "invalid_input: `url` must be a whole address, such as https://example.com/page.".to_owned())?;
    with_scheme(url)
}

fn with_scheme(mut url: Url) -> Result<Url, String> {
    if !["http", "https"].contains(&url.scheme()) {
        return Err("url_not_allowed: only http and https addresses can be fetched.".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url_not_allowed: an address with a name or a password in it is not fetched.".into());
    }
    url.set_fragment(None);
    Ok(url)
}

fn allowed(settings: &FetchSettings, url: &Url) -> Result<(), String> {
    if settings.allows(url) {
        return Ok(());
    }
    Err(format!("url_not_allowed: {} is not among the domains that this agent may fetch from.", host(url)))
}

/// Where a redirect leads, if the agent may follow it.
fn redirected(settings: &FetchSettings, from: &Url, to: &str) -> Result<Url, String> {
    let led = |why: String| format!("{why} A redirect of {} led there.", host(from));
    let next = from.join(to).map_err(|_| format!("url_not_accessible: {} redirects to what is no address.", host(from)))?;
    if next.as_str().len() > limits::WEB_URL_BYTES {
        return Err(led(format!("url_too_long: an address has at most {} bytes.", limits::WEB_URL_BYTES)));
    }
    let next = with_scheme(next).map_err(led)?;
    allowed(settings, &next).map_err(led)?;
    Ok(next)
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn refused(url: &Url, unanswered: Unanswered) -> String {
    match unanswered {
        Unanswered::Unavailable => "unavailable: the server cannot fetch pages just now; try again later.".into(),
        Unanswered::Refused { code: Code::AddressNotPublic, .. } => {
            format!("url_not_allowed: {} is not on the public internet.", host(url))
        }
        Unanswered::Refused { code: Code::PortNotAllowed, .. } => "url_not_allowed: pages are fetched from ports 80 and 443 only.".into(),
        Unanswered::Refused { code: Code::NoAddress, .. } => format!("url_not_accessible: there is no host {}.", host(url)),
        Unanswered::Refused { code: Code::TooLarge, .. } => {
            format!("url_not_accessible: what {} answers is too large to be read.", host(url))
        }
        Unanswered::Refused { message, .. } => format!("url_not_accessible: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(extra: Value) -> FetchSettings {
        serde_json::from_value(extra).unwrap()
    }

    #[test]
    fn addresses_are_whole_and_of_the_web() {
        let asked = |text: &str| asked(json!({"url": text}).as_object().unwrap()).map(String::from);
        assert_eq!(asked(" HTTPS://Example.COM/a/../b?c#d ").unwrap(), "https://example.com/b?c");
        for (text, code) in [
            ("example.com", "invalid_input"),
            ("", "invalid_input"),
            ("ftp://a.com/", "url_not_allowed"),
            ("file:///etc/passwd", "url_not_allowed"),
            ("data:text/html,x", "url_not_allowed"),
            ("https://user:pass@a.com/", "url_not_allowed"),
            (&format!("https://a.com/{}", "x".repeat(3_000)), "url_too_long"),
        ] {
            assert!(asked(text).unwrap_err().starts_with(code), "{text}");
        }
        assert!(super::asked(&Map::new()).is_err());
    }

    #[test]
    fn each_redirect_is_judged_like_the_first_address() {
        let only = settings(json!({"allowed_domains": ["a.com"]}));
        let but = settings(json!({"blocked_domains": ["b.com"]}));
        let from = Url::parse("https://a.com/x/y").unwrap();
        for (settings, to, expected) in [
            (&only, "/z", Ok("https://a.com/z")),
            (&only, "z#part", Ok("https://a.com/x/z")),
            (&only, "//www.a.com/", Ok("https://www.a.com/")),
            (&only, "http://a.com/", Ok("http://a.com/")),
            (&only, "https://b.com/", Err("url_not_allowed")),
            (&only, "https://a.com.b.com/", Err("url_not_allowed")),
            (&only, "http://127.0.0.1/", Err("url_not_allowed")),
            (&but, "https://c.com/", Ok("https://c.com/")),
            (&but, "https://x.b.com./", Err("url_not_allowed")),
            (&but, "file:///etc/passwd", Err("url_not_allowed")),
            (&but, "javascript:alert(1)", Err("url_not_allowed")),
            (&but, "https://me@c.com/", Err("url_not_allowed")),
            (&but, "https://[", Err("url_not_accessible")),
        ] {
            match (redirected(settings, &from, to), expected) {
                (Ok(next), Ok(expected)) => assert_eq!(next.as_str(), expected, "{to}"),
                (Err(why), Err(code)) => assert!(why.starts_with(code), "{to}: {why}"),
                (other, _) => panic!("{to}: {other:?}"),
            }
        }
    }
}
