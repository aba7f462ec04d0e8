//! For what a session waits, read from its newest events.

use jiff::Timestamp;
use serde_json::Value;

use super::output::{age, field};
use crate::client::{Client, Kind, Listing, Paging, Request};
use crate::limits;

const LARGER_BUDGET: &str = "a larger budget: ostler sessions budget ID DOLLARS";

/// Something that does not go on by itself, or not yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wait {
    pub(super) what: What,
    /// Since when, as the API tells times.
    since: String,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// A person who allows or denies a call.
    Confirmation(Call),
    /// A client that runs one of its own tools.
    Result(Call),
    /// An answer to an event that is not among the newest calls.
    Answer(String),
    /// A person who allows or denies a request of the sandbox.
    Request(Asked),
    /// The next try of what failed.
    Retry(String),
    /// Somebody who looks into why the turn was given up.
    GivenUp(String),
    /// Something that has only a name.
    Other(String),
}

/// A request of a sandbox about which a person is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// The id of the confirmation.
    pub(super) id: String,
    pub(super) request: String,
    /// The rule that asks.
    pub(super) rule: String,
}

impl Asked {
    fn of(confirmation: &Value) -> Self {
        let part = |pointer: &str| field(confirmation, pointer);
        let request = format!("{} {}:{}{}", part("/method"), part("/host"), part("/port"), part("/path"));
        Self { id: part("/id"), request, rule: part("/rule") }
    }
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// The id of its event.
    pub(super) event: String,
    pub(super) tool: String,
    pub(super) input: Value,
}

impl Call {
    /// The argument that says most: the only text, or all of them.
    pub(super) fn argument(&self) -> String {
        match self.input.as_object().filter(|input| input.len() == 1).and_then(|input| input.values().next()) {
            Some(Value::String(text)) => text.clone(),
            _ if self.input.as_object().is_some_and(serde_json::Map::is_empty) => String::new(),
            _ => self.input.to_string(),
        }
    }
}

impl Wait {
    /// One line about it.
    pub(super) fn line(&self, now: Timestamp) -> String {
        let what = match &self.what {
            What::Confirmation(call) => format!("confirm {}: {} ({})", call.tool, call.argument(), call.event),
            What::Result(call) => format!("custom tool result {} ({})", call.tool, call.event),
            What::Answer(event) => format!("answer to {event}"),
            What::Request(asked) => format!("confirm request {} ({})", asked.request, asked.id),
            What::Retry(error) => format!("retrying the model: {error}"),
            What::GivenUp(error) => error.clone(),
            What::Other(reason) => reason.clone(),
        };
        match age(&self.since, now) {
            age if age.is_empty() => what,
            age => format!("{what} since {age}"),
        }
    }
}

/// For what this session waits; of itself nothing where it works, is done, or is over.
pub(super) async fn of_session(client: &Client, session: &Value) -> anyhow::Result<Vec<Wait>> {
    let mut waits = of_itself(client, session).await?;
    if session["status"] != "terminated" {
        waits.extend(requests(client, session["id"].as_str().unwrap_or_default()).await?);
    }
    Ok(waits)
}

/// The requests of its sandbox that wait for a person. A server that knows no such requests has none.
async fn requests(client: &Client, session: &str) -> anyhow::Result<Vec<Wait>> {
    let request = Request::to("x").then("sessions").then(session).then("confirmations").about(Kind::Session, session);
    let page = match client.get(request).await {
        Err(error) if crate::client::is_missing(&error) => return Ok(Vec::new()),
        page => page?,
    };
    let waiting = page["data"].as_array().into_iter().flatten().filter(|confirmation| confirmation["answer"].is_null());
    Ok(waiting.map(|confirmation| Wait { what: What::Request(Asked::of(confirmation)), since: field(confirmation, "/asked_at") }).collect())
}

async fn of_itself(client: &Client, session: &Value) -> anyhow::Result<Vec<Wait>> {
    let id = session["id"].as_str().unwrap_or_default();
    match session["status"].as_str().unwrap_or_default() {
        "rescheduling" => {
            let error = newest(client, id, &["session.error"]).await?.unwrap_or_default();
            Ok(vec![Wait { since: field(&error, "/processed_at"), what: What::Retry(reason(&error)) }])
        }
        "idle" => {
            let waits = idle(client, id).await?;
            if waits.is_empty() && is_spent(session) {
                let since = field(session, "/updated_at");
                return Ok(vec![Wait { what: What::Other(LARGER_BUDGET.to_owned()), since }]);
            }
            Ok(waits)
        }
        _ => Ok(Vec::new()),
    }
}

/// Whether the budget is used up, so that no message is taken.
fn is_spent(session: &Value) -> bool {
    let cents = |pointer: &str| field(session, pointer).parse::<u64>().ok();
    matches!((cents("/usage/list_cost/amount"), cents("/budget/max_list_cost/amount")), (Some(spent), Some(most)) if spent >= most)
}

async fn idle(client: &Client, session: &str) -> anyhow::Result<Vec<Wait>> {
    let Some(event) = newest(client, session, &["session.status_idle"]).await? else { return Ok(Vec::new()) };
    let since = field(&event, "/processed_at");
    match field(&event, "/stop_reason/type").as_str() {
        "requires_action" => {
            let ids = event.pointer("/stop_reason/event_ids").and_then(Value::as_array).into_iter().flatten();
            calls(client, session, ids.filter_map(Value::as_str).map(str::to_owned).collect(), &since).await
        }
        "retries_exhausted" => {
            let error = newest(client, session, &["session.error"]).await?.unwrap_or_default();
            let message = field(&error, "/error/message");
            // The server says both the same way; only its words tell them apart.
            let what = if message.contains("was set aside") { "set aside" } else { "gave up" };
            Ok(vec![Wait { what: What::GivenUp(format!("{what}: {}", reason(&error))), since }])
        }
        "budget_reached" => Ok(vec![Wait { what: What::Other(LARGER_BUDGET.to_owned()), since }]),
        "end_turn" | "refusal" => Ok(Vec::new()),
        other => Ok(vec![Wait { what: What::Other(other.to_owned()), since }]),
    }
}

/// The calls that wait, in the order in which the server names them.
async fn calls(client: &Client, session: &str, ids: Vec<String>, since: &str) -> anyhow::Result<Vec<Wait>> {
    let kinds = ["agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"];
    let mut listing = Listing::new(client, newest_of(session, &kinds), Paging::Cursor, limits::CALL_PAGES * limits::PAGE);
    let mut found: Vec<(String, Wait)> = Vec::new();
    while found.len() < ids.len() {
        let Some(page) = listing.page().await? else { break };
        for text in page {
            let event: Value = serde_json::from_str(&text)?;
            if let Some(id) = ids.iter().find(|id| event["id"] == id.as_str()) {
                let call = Call { event: id.clone(), tool: field(&event, "/name"), input: event["input"].clone() };
                let is_custom = event["type"] == "agent.custom_tool_use";
                let what = if is_custom { What::Result(call) } else { What::Confirmation(call) };
                found.push((id.clone(), Wait { what, since: field(&event, "/processed_at") }));
            }
        }
    }
    let unknown = |id: &String| Wait { what: What::Answer(id.clone()), since: since.to_owned() };
    let of = |id: &String| found.iter().find(|(known, _)| known == id).map_or_else(|| unknown(id), |(_, wait)| wait.clone());
    Ok(ids.iter().map(of).collect())
}

/// What an error event says.
fn reason(event: &Value) -> String {
    let kind = field(event, "/error/type");
    let kind = kind.trim_start_matches("model_").trim_end_matches("_error");
    let message = field(event, "/error/message");
    match (kind, message.is_empty()) {
        ("unknown" | "", false) => message,
        (kind, true) => kind.to_owned(),
        (kind, false) => format!("{kind}: {message}"),
    }
}

fn newest_of(session: &str, kinds: &[&str]) -> Request {
    let request = Request::of(Kind::Session, session).then("events").query("order", "desc");
    kinds.iter().fold(request, |request, kind| request.query("types[]", *kind))
}

/// The newest event of these types.
pub(super) async fn newest(client: &Client, session: &str, kinds: &[&str]) -> anyhow::Result<Option<Value>> {
    Ok(Listing::new(client, newest_of(session, kinds), Paging::Cursor, 1).values().await?.pop())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wait_is_told_in_one_line_with_what_is_needed_to_answer() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let since = "2026-01-02T09:00:00Z".to_owned();
        let call = Call { event: "sevt_1".into(), tool: "bash".into(), input: json!({"command": "rm -rf x"}) };
        let line = |what: What| Wait { what, since: since.clone() }.line(now);
        assert_eq!(line(What::Confirmation(call.clone())), "confirm bash: rm -rf x (sevt_1) since 3h");
        assert_eq!(line(What::Result(Call { tool: "lookup_order".into(), ..call })), "custom tool result lookup_order (sevt_1) since 3h");
        let asked =
            Asked::of(&json!({"id": "conf_1", "method": "POST", "host": "a.test", "port": 443, "path": "/x", "rule": "ask a.test"}));
        assert_eq!(line(What::Request(asked)), "confirm request POST a.test:443/x (conf_1) since 3h");
        let error = json!({"error": {"type": "model_overloaded_error", "message": "busy"}});
        assert_eq!(line(What::Retry(reason(&error))), "retrying the model: overloaded: busy since 3h");
    }

    #[test]
    fn a_budget_that_is_used_up_is_waited_for() {
        let session = |spent: &str| json!({"usage": {"list_cost": {"amount": spent}}, "budget": {"max_list_cost": {"amount": "150"}}});
        assert!(is_spent(&session("150")) && is_spent(&session("212")));
        assert!(!is_spent(&session("149")) && !is_spent(&json!({"usage": {"list_cost": {"amount": "9"}}})));
    }

    #[test]
    fn nothing_of_an_input_is_left_out() {
        let argument = |input: Value| Call { event: String::new(), tool: String::new(), input }.argument();
        assert_eq!(argument(json!({"command": "ls", "timeout": 5})), r#"{"command":"ls","timeout":5}"#);
        assert_eq!((argument(json!({"n": 1})), argument(json!({}))), (r#"{"n":1}"#.to_owned(), String::new()));
    }
}
