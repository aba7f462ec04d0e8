//! The settings of `web_fetch` and `web_search`: which hosts they may touch, which addresses may be fetched, where the user is.
//! They are kept as they are shown, and read from there when a call is made.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use super::tools::{Tool, is_public_hostname};
use crate::error::Refusal;
use crate::limits;

/// The tool that reads a page.
pub const WEB_FETCH: &str = "web_fetch";
/// The tool that asks a search engine.
pub const WEB_SEARCH: &str = "web_search";

/// The settings of `web_fetch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FetchSettings {
    #[serde(flatten)]
    domains: Domains,
    /// The most tokens of a page that the model is shown.
    pub max_content_tokens: Option<u64>,
    /// Where an address must have been seen; none: it may come from anywhere.
    pub url_sources: Option<UrlSources>,
}

/// The settings of `web_search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SearchSettings {
    #[serde(flatten)]
    domains: Domains,
    /// Where the user is.
    pub user_location: Option<UserLocation>,
}

/// Which hosts a tool may touch: only some, or all but some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Domains {
    /// If there are any, only these, and what is below them.
    pub allowed_domains: Vec<String>,
    /// Not these, nor what is below them.
    pub blocked_domains: Vec<String>,
}

/// Which parts of the conversation the addresses that are fetched may come from. What is not set may be a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlSources {
    /// Results of custom tools.
    #[serde(default)]
    pub client_tool_results: Option<SourceFilter>,
    /// Results of `web_search` and `web_fetch`.
    #[serde(default)]
    pub server_tool_results: Option<SourceFilter>,
    /// Messages of the user: all of them or none.
    #[serde(default)]
    pub user_input: Option<SourceFilter>,
}

/// Which tools' results are a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SourceFilter {
    /// Those of every tool.
    All,
    /// Those of none.
    None,
    /// Those of these tools.
    Only {
        /// The tools.
        tools: Vec<ToolReference>,
    },
    /// Those of all tools but these.
    Except {
        /// The tools.
        tools: Vec<ToolReference>,
    },
}

/// A tool by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolReference {
    /// Its name.
    pub name: String,
    /// That it is one.
    #[serde(rename = "type")]
    pub kind: ReferenceKind,
}

/// That something is a reference to a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceKind {
    /// It is one.
    ToolReference,
}

/// Where the user is, roughly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLocation {
    /// How exact it is.
    #[serde(rename = "type")]
    pub kind: LocationKind,
    /// The city.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Two letters of ISO 3166-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The region or state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A name of the IANA time zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// How exact a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocationKind {
    /// Roughly.
    Approximate,
}

/// Where in a conversation an address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// In a message of the user.
    User,
    /// In the result of a custom tool.
    Client(&'a str),
    /// In the result of a web tool.
    Server(&'a str),
}

impl FetchSettings {
    /// Those of an agent with these tools.
    pub fn of(tools: &[Tool]) -> Self {
        read(tools, WEB_FETCH)
    }

    /// Whether a page may be fetched. Its scheme and what it resolves to are not looked at here.
    pub fn allows(&self, url: &Url) -> bool {
        self.domains.allow(url)
    }
}

impl SearchSettings {
    /// These settings.
    pub fn new(domains: Domains, user_location: Option<UserLocation>) -> Self {
        Self { domains, user_location }
    }

    /// Those of an agent with these tools.
    pub fn of(tools: &[Tool]) -> Self {
        read(tools, WEB_SEARCH)
    }

    /// Whether a result may be shown.
    pub fn allows(&self, url: &Url) -> bool {
        self.domains.allow(url)
    }

    /// The lists, for a search engine that can do something with them.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }
}

/// What an agent is stored with was checked; were it not what it should be, nothing is allowed by it.
fn read<T: for<'de> Deserialize<'de> + Default + Closed>(tools: &[Tool], name: &str) -> T {
    let extra = tools.iter().find_map(|tool| match tool {
        Tool::AgentToolset { configs, .. } => configs.iter().find(|config| config.name == name).map(|config| config.extra.clone()),
        Tool::McpToolset { .. } | Tool::Custom { .. } => None,
    });
    extra.map_or_else(T::default, |extra| serde_json::from_value(Value::Object(extra)).unwrap_or_else(|_| T::closed()))
}

/// Settings that allow nothing.
trait Closed {
    fn closed() -> Self;
}

impl Domains {
    /// A list with a name that no host has.
    fn closed() -> Self {
        Self { allowed_domains: vec!["invalid".into()], blocked_domains: Vec::new() }
    }

    fn allow(&self, url: &Url) -> bool {
        let is_among = |list: &[String]| list.iter().any(|entry| means(entry, url));
        (self.allowed_domains.is_empty() || is_among(&self.allowed_domains)) && !is_among(&self.blocked_domains)
    }
}

impl Closed for FetchSettings {
    fn closed() -> Self {
        Self { domains: Domains::closed(), ..Self::default() }
    }
}

impl Closed for SearchSettings {
    fn closed() -> Self {
        Self { domains: Domains::closed(), ..Self::default() }
    }
}

/// Whether an entry of a list means this address: its host or one above it and, where the entry has a path, what is below that.
fn means(entry: &str, url: &Url) -> bool {
    let (domain, path) = entry.split_once('/').map_or((entry, None), |(domain, path)| (domain, Some(path)));
    // An address in the place of a name is below no domain.
    let Some(Host::Domain(host)) = url.host() else { return false };
    let host = host.trim_end_matches('.');
    let is_below = host.len() > domain.len()
        && host.as_bytes()[host.len() - domain.len() - 1] == b'.'
        && host.get(host.len() - domain.len()..).is_some_and(|end| end.eq_ignore_ascii_case(domain));
    if !host.eq_ignore_ascii_case(domain) && !is_below {
        return false;
    }
    let Some(path) = path.map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty()) else { return true };
    let rest = url.path().get(1..).and_then(|have| have.strip_prefix(path));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl UrlSources {
    /// Whether an address that stands there may be fetched.
    pub fn allow(&self, source: Source<'_>) -> bool {
        let (filter, name) = match source {
            Source::User => (&self.user_input, ""),
            Source::Client(name) => (&self.client_tool_results, name),
            Source::Server(name) => (&self.server_tool_results, name),
        };
        match filter {
            None | Some(SourceFilter::All) => true,
            Some(SourceFilter::None) => false,
            Some(SourceFilter::Only { tools }) => tools.iter().any(|tool| tool.name == name),
            Some(SourceFilter::Except { tools }) => tools.iter().all(|tool| tool.name != name),
        }
    }
}

/// Keeps of a client's settings of a tool what the tool knows, checks it, and gives it the form in which it is shown.
pub(super) fn settings(tool: &str, extra: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let known: &[&str] = match tool {
        WEB_FETCH => &["allowed_domains", "blocked_domains", "max_content_tokens", "url_sources"],
        WEB_SEARCH => &["allowed_domains", "blocked_domains", "user_location"],
        _ => &[],
    };
    let mut kept: Map<String, Value> = extra.into_iter().filter(|(key, value)| known.contains(&key.as_str()) && !value.is_null()).collect();
    if kept.contains_key("allowed_domains") && kept.contains_key("blocked_domains") {
        return Err(Refusal::invalid(format!("tools: {tool}: Only one of allowed_domains or blocked_domains may be set.")));
    }
    for key in ["allowed_domains", "blocked_domains"] {
        if let Some(list) = kept.get(key) {
            check_domains(tool, key, list)?;
        }
    }
    if let Some(most) = kept.get("max_content_tokens")
        && !most.as_u64().is_some_and(|most| (1..=limits::WEB_CONTENT_TOKENS).contains(&most))
    {
        return Err(Refusal::invalid(format!("tools: {tool}.max_content_tokens: must be 1 to {}", limits::WEB_CONTENT_TOKENS)));
    }
    if let Some(location) = kept.remove("user_location") {
        kept.insert("user_location".into(), resolve_location(location)?);
    }
    if tool == WEB_FETCH {
        let sources = kept.remove("url_sources").map_or(Ok(Value::Null), resolve_sources)?;
        kept.insert("url_sources".into(), sources);
    }
    Ok(kept)
}

fn check_domains(tool: &str, key: &str, list: &Value) -> Result<(), Refusal> {
    let refuse = |why: String| Refusal::invalid(format!("tools: {tool}.{key}: {why}"));
    let entries = list.as_array().ok_or_else(|| refuse("must be a list".into()))?;
    if entries.is_empty() || entries.len() > limits::DOMAIN_LIST_ENTRIES {
        return Err(refuse(format!("must have 1 to {} entries", limits::DOMAIN_LIST_ENTRIES)));
    }
    let mut seen: Vec<String> = Vec::new();
    for entry in entries {
        let text = entry.as_str().ok_or_else(|| refuse("entries must be strings".into()))?;
        if text.len() > limits::DOMAIN_LIST_CHARS {
            return Err(refuse(format!("an entry has more than {} characters", limits::DOMAIN_LIST_CHARS)));
        }
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        let is_path_fit =
            path.is_none_or(|path| tool == WEB_SEARCH && path.bytes().all(|b| b.is_ascii_graphic() && !b"?#*\\".contains(&b)));
        if !is_public_hostname(host) || !is_path_fit {
            return Err(refuse(format!("{text:?} is not a plain public host name")));
        }
        let lower = host.to_ascii_lowercase() + &text[host.len()..];
        if seen.contains(&lower) {
            return Err(refuse(format!("{text:?} stands there twice")));
        }
        seen.push(lower);
    }
    Ok(())
}

fn resolve_location(location: Value) -> Result<Value, Refusal> {
    let refuse = |why: &str| Refusal::invalid(format!("tools: web_search.user_location: {why}"));
    let location: UserLocation = serde_json::from_value(location)
        .map_err(|_| refuse("must be {\"type\": \"approximate\"} with any of city, country, region and timezone, which are strings"))?;
    let UserLocation { city, country, region, timezone, .. } = &location;
    let is_fit = |text: &String| (1..=limits::LOCATION_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if ![city, country, region, timezone].into_iter().flatten().all(is_fit) {
        return Err(refuse(&format!("each part must have 1 to {} characters", limits::LOCATION_CHARS)));
    }
    if country.as_ref().is_some_and(|country| country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase())) {
        return Err(refuse("country is two capital letters, such as \"DE\""));
    }
    serde_json::to_value(&location).map_err(|error| refuse(&error.to_string()))
}

fn resolve_sources(sources: Value) -> Result<Value, Refusal> {
    let refuse = |why: String| Refusal::invalid(format!("tools: web_fetch.url_sources: {why}"));
    let Value::Object(given) = sources else { return Err(refuse("must be an object".into())) };
    let mut whole = Map::new();
    for key in ["client_tool_results", "server_tool_results", "user_input"] {
        let filter = match given.get(key) {
            None | Some(Value::Null) => Value::Null,
            // The short form.
            Some(Value::String(kind)) => Value::Object(Map::from_iter([("type".into(), kind.as_str().into())])),
            Some(long) => long.clone(),
        };
        whole.insert(key.into(), filter);
    }
    let resolved: UrlSources = serde_json::from_value(Value::Object(whole)).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let filters = [&resolved.client_tool_results, &resolved.server_tool_results, &resolved.user_input];
    if filters.iter().all(|filter| **filter == Some(SourceFilter::None)) {
        return Err(refuse("nothing could be fetched with all three \"none\"; set enabled to false instead".into()));
    }
    if named(resolved.user_input.as_ref()).is_some() {
        return Err(refuse("user_input is \"all\" or \"none\"".into()));
    }
    for filter in filters {
        let Some(tools) = named(filter.as_ref()) else { continue };
        if tools.is_empty() || tools.len() > limits::TOOL_ENTRIES {
            return Err(refuse(format!("a list must have 1 to {} tools; say \"all\" or \"none\"", limits::TOOL_ENTRIES)));
        }
        if tools.iter().enumerate().any(|(at, tool)| tools[..at].contains(tool)) {
            return Err(refuse("a tool stands there twice".into()));
        }
    }
    if let Some(other) = named(resolved.server_tool_results.as_ref())
        .into_iter()
        .flatten()
        .find(|tool| ![WEB_FETCH, WEB_SEARCH].contains(&tool.name.as_str()))
    {
        return Err(refuse(format!("server_tool_results: {:?} is neither \"web_search\" nor \"web_fetch\"", other.name)));
    }
    serde_json::to_value(&resolved).map_err(|error| refuse(error.to_string()))
}

/// The tools that a filter names.
fn named(filter: Option<&SourceFilter>) -> Option<&Vec<ToolReference>> {
    match filter {
        Some(SourceFilter::Only { tools } | SourceFilter::Except { tools }) => Some(tools),
        _ => None,
    }
}

/// Checks that custom tools which are named as sources are there.
pub(super) fn check_together(tools: &[Tool]) -> Result<(), Refusal> {
    let Some(sources) = FetchSettings::of(tools).url_sources else { return Ok(()) };
    let unknown =
        named(sources.client_tool_results.as_ref()).into_iter().flatten().find(|tool| !super::tools::has_custom(tools, &tool.name));
    unknown.map_or(Ok(()), |tool| {
        Err(Refusal::invalid(format!(
            "tools: web_fetch.url_sources: client_tool_results names {:?}, which is no custom tool of the agent",
            tool.name
        )))
    })
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
