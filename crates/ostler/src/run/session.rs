//! The session behind `ostler run`: created, followed, interrupted over the HTTP API.

use anyhow::Context;
use futures::StreamExt;
use futures::stream::BoxStream;
use ostler_core::ids::SessionId;
use serde_json::{Value, json};

use super::render::Render;
use crate::client::{Client, StreamEvent};

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) prompt: String,
    pub(crate) model: String,
    pub(crate) system: Option<String>,
}

/// How the turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The agent was done.
    Done,
    /// The person ended the turn.
    Interrupted,
    /// The turn was given up.
    Failed,
    /// The model declined.
    Declined,
    /// Somebody has to answer.
    Waits,
    /// The session was archived or deleted meanwhile.
    Terminated,
    /// The person left.
    Left,
}

/// The name of the agent and the environment that `run` makes for itself.
const NAME: &str = "ostler run";
/// How often a server that went away is tried again.
const RECONNECT_TRIES: u32 = 60;
/// How long to wait between two tries.
const RECONNECT_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// Characters of the prompt that become the session's title.
const TITLE_CHARS: usize = 80;

/// A session that is followed.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    client: Client,
    /// Where to go on after the connection broke.
    last: Option<String>,
    events: BoxStream<'static, anyhow::Result<StreamEvent>>,
}

/// Creates the session and gives it its task.
pub(crate) async fn start(client: &Client, task: Task, render: &mut Render) -> anyhow::Result<Session> {
    let environment = environment(client).await?;
    let agent = agent(client, &task).await?;
    let title: String = task.prompt.chars().take(TITLE_CHARS).collect();
    let created = client.post("/v1/sessions", &json!({"agent": agent, "environment_id": environment, "title": title})).await?;
    let id: SessionId = text(&created, "id")?.parse().context("the server's session id")?;
    // Open before anything happens, so that nothing is missed.
    let events = client.stream(&stream_path(&id), None).await?;
    render.started(id.as_str());
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": task.prompt}]});
    client.post(&format!("/v1/sessions/{id}/events"), &json!({"events": [message]})).await?;
    Ok(Session { id, client: client.clone(), last: None, events })
}

impl Session {
    /// Shows the next event; an ending ends the turn.
    pub(crate) async fn next(&mut self, render: &mut Render) -> anyhow::Result<Option<Ending>> {
        let event = match self.events.next().await {
            Some(Ok(event)) => event,
            Some(Err(_)) | None => {
                self.reconnect(render).await?;
                return Ok(None);
            }
        };
        if event.id.is_some() {
            self.last.clone_from(&event.id);
        }
        render.event(&event);
        Ok(ending(&event.data))
    }

    /// The server went away, perhaps to come back: sessions outlive it.
    async fn reconnect(&mut self, render: &mut Render) -> anyhow::Result<()> {
        render.note("lost the server; waiting for it to come back");
        for _ in 0..RECONNECT_TRIES {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            let after = self.last.as_deref().unwrap_or("0");
            if let Ok(events) = self.client.stream(&stream_path(&self.id), Some(after)).await {
                self.events = events;
                return Ok(());
            }
        }
        anyhow::bail!("the server did not come back; the session goes on when it does: {}", self.id)
    }

    /// Asks the agent to end its turn.
    pub(crate) async fn interrupt(&self, client: &Client) -> anyhow::Result<()> {
        client.post(&format!("/v1/sessions/{}/events", self.id), &json!({"events": [{"type": "user.interrupt"}]})).await.map(|_| ())
    }
}

fn stream_path(id: &SessionId) -> String {
    format!("/v1/sessions/{id}/events/stream?event_deltas[]=agent.message&event_deltas[]=agent.thinking")
}

fn ending(event: &Value) -> Option<Ending> {
    match event.get("type")?.as_str()? {
        "session.status_idle" => Some(match event.pointer("/stop_reason/type").and_then(Value::as_str) {
            Some("end_turn") => Ending::Done,
            Some("requires_action") => Ending::Waits,
            Some("refusal") => Ending::Declined,
            _ => Ending::Failed,
        }),
        "session.status_terminated" | "session.deleted" => Some(Ending::Terminated),
        _ => None,
    }
}

/// The environment of earlier runs, or a new one.
async fn environment(client: &Client) -> anyhow::Result<String> {
    let known = client.get("/v1/environments?limit=100").await?;
    let mine = known["data"].as_array().into_iter().flatten().find(|environment| environment["name"] == NAME);
    match mine {
        Some(environment) => text(environment, "id"),
        None => text(&client.post("/v1/environments", &json!({"name": NAME, "config": {"type": "cloud"}})).await?, "id"),
    }
}

/// The agent of earlier runs with the same model and prompt, or a new one.
async fn agent(client: &Client, task: &Task) -> anyhow::Result<String> {
    let known = client.get("/v1/agents?limit=100").await?;
    let same = |agent: &&Value| {
        agent["name"] == NAME && agent["model"]["id"] == task.model.as_str() && agent["system"].as_str() == task.system.as_deref()
    };
    match known["data"].as_array().into_iter().flatten().find(same) {
        Some(agent) => text(agent, "id"),
        None => {
            let agent = json!({"name": NAME, "model": task.model, "system": task.system, "tools": [{"type": "agent_toolset_20260401"}]});
            text(&client.post("/v1/agents", &agent).await?, "id")
        }
    }
}

fn text(object: &Value, field: &str) -> anyhow::Result<String> {
    object[field].as_str().map(str::to_owned).with_context(|| format!("the server's answer has no {field}"))
}
