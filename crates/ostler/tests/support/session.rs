//! One session as its client sees it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::Api;
use super::events::{Frame, Stream};
use super::limits;

/// The tools of an agent, in wire form.
pub(crate) type Tools = Value;

/// The built-in tools, all allowed.
pub(crate) fn tools() -> Tools {
    json!([{"type": "agent_toolset_20260401"}])
}

/// The built-in tools under one policy.
pub(crate) fn policy(name: &str) -> Tools {
    json!([{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": name}}}])
}

/// A session and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) api: Api,
    pub(crate) id: String,
}

impl Session {
    /// A new agent, a new environment and a session of them.
    pub(crate) async fn create(api: &Api, tools: Tools) -> Self {
        let agent = api.post("/v1/agents", &json!({"name": "tester", "model": "scripted-model", "tools": tools})).await;
        let environment = api.post("/v1/environments", &json!({"name": "place", "config": {"type": "cloud"}})).await;
        let session = api.post("/v1/sessions", &json!({"agent": agent["id"], "environment_id": environment["id"]})).await;
        Self { api: api.clone(), id: session["id"].as_str().expect("a session has an id").to_owned() }
    }

    /// The same session over another way.
    pub(crate) fn on(&self, api: &Api) -> Self {
        Self { api: api.clone(), id: self.id.clone() }
    }

    pub(crate) fn path(&self) -> String {
        format!("/v1/sessions/{}", self.id)
    }

    /// Sends events; gives their echo.
    pub(crate) async fn send(&self, events: Value) -> Value {
        self.api.post(&format!("{}/events", self.path()), &json!({ "events": events })).await
    }

    /// Sends events; gives the status and the body, or nothing where nobody answered.
    pub(crate) async fn try_send(&self, events: Value) -> Option<(StatusCode, Value)> {
        let request = self.api.request(Method::POST, &format!("{}/events", self.path()));
        Api::ask(request.json(&json!({ "events": events }))).await.ok()
    }

    /// Sends a message.
    pub(crate) async fn say(&self, text: &str) -> Value {
        self.send(json!([message(text)])).await
    }

    /// Sends a message and gives all frames of its turn.
    pub(crate) async fn turn(&self, text: &str) -> Vec<Frame> {
        let mut stream = self.follow("").await;
        self.say(text).await;
        stream.turn().await
    }

    /// Answers a call that waits for it.
    pub(crate) async fn confirm(&self, call: &str, result: &str) -> Value {
        self.send(json!([{"type": "user.tool_confirmation", "tool_use_id": call, "result": result}])).await
    }

    /// Follows with this query, such as `?after=0`.
    pub(crate) async fn follow(&self, query: &str) -> Stream {
        self.api.stream(&format!("{}/events/stream{query}", self.path())).await
    }

    /// The session object.
    pub(crate) async fn get(&self) -> Value {
        self.api.get(&self.path()).await
    }

    /// Every event so far, from the list.
    pub(crate) async fn history(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut page = String::new();
        loop {
            let list = self.api.get(&format!("{}/events?limit={}{page}", self.path(), limits::PAGE)).await;
            events.extend(list["data"].as_array().cloned().unwrap_or_default());
            let Some(next) = list["next_page"].as_str() else { return events };
            page = format!("&page={next}");
        }
    }
}

/// A message as an event.
pub(crate) fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

/// A call of bash as a line of a script.
pub(crate) fn bash(command: &str) -> String {
    format!("TOOL bash {}", json!({ "command": command }))
}
