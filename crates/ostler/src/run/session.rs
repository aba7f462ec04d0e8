//! The session behind `ostler run`: its agent, its environment, its task, over the HTTP API.

use serde_json::{Value, json};

use super::render::Render;
use super::turn::Turn;
use crate::client::{Client, Follower, Kind, Request, Start, Watch, text};

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) prompt: String,
    pub(crate) model: String,
    pub(crate) system: Option<String>,
}

/// The name of the agent and the environment that `run` makes for itself.
const NAME: &str = "ostler run";
/// Characters of the prompt that become the session's title.
const TITLE_CHARS: usize = 80;

/// Creates the session and gives it its task; gives its id as well.
pub(crate) async fn start(client: &Client, task: Task, render: &mut Render) -> anyhow::Result<(String, Turn)> {
    let environment = environment(client).await?;
    let agent = agent(client, &task).await?;
    let title: String = task.prompt.chars().take(TITLE_CHARS).collect();
    let body = json!({"agent": agent, "environment_id": environment, "title": title});
    let id = text(&client.post(Request::to("sessions"), &body).await?, "id")?;
    let watch = Watch { session: id.clone(), previews: true, kinds: &[] };
    // Open before anything happens, so that the message is seen while it is made.
    let (follower, _) = Follower::open(client, watch, Start::Beginning).await?;
    render.started(&id);
    client.post(Request::of(Kind::Session, &id).then("events"), &json!({"events": [message(&task.prompt)]})).await?;
    let turn = Turn::new(client, &id, follower, None);
    Ok((id, turn))
}

/// A message of the user, as an event.
pub(crate) fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

/// The environment of earlier runs, or a new one.
async fn environment(client: &Client) -> anyhow::Result<String> {
    let known = client.get(Request::to("environments").query("limit", "100")).await?;
    let mine = known["data"].as_array().into_iter().flatten().find(|environment| environment["name"] == NAME);
    match mine {
        Some(environment) => text(environment, "id"),
        None => text(&client.post(Request::to("environments"), &json!({"name": NAME, "config": {"type": "cloud"}})).await?, "id"),
    }
}

/// The agent of earlier runs with the same model and prompt, or a new one.
async fn agent(client: &Client, task: &Task) -> anyhow::Result<String> {
    let known = client.get(Request::to("agents").query("limit", "100")).await?;
    let same = |agent: &&Value| {
        agent["name"] == NAME && agent["model"]["id"] == task.model.as_str() && agent["system"].as_str() == task.system.as_deref()
    };
    match known["data"].as_array().into_iter().flatten().find(same) {
        Some(agent) => text(agent, "id"),
        None => {
            let agent = json!({"name": NAME, "model": task.model, "system": task.system, "tools": [{"type": "agent_toolset_20260401"}]});
            text(&client.post(Request::to("agents"), &agent).await?, "id")
        }
    }
}
