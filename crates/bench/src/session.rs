//! Sessions as a client uses them, and the lab: the helpers of a run and how much is done in it.

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::http::{Client, Follower};
use crate::limits::{self, Effort};
use crate::process::Helper;
use crate::roles::{Call, Role};
use crate::server::{Plan, Server};

/// The helpers of a run, the server's binary and how much is done.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) plan: Plan,
    pub(crate) effort: Effort,
    pub(crate) echo: Helper,
    pub(crate) model: Helper,
    pub(crate) egress: Helper,
    looking: Client,
}

impl Lab {
    pub(crate) async fn start(binary: std::path::PathBuf, effort: Effort) -> anyhow::Result<Self> {
        let echo = Helper::start(Role::Echo, None).await?;
        let model = Helper::start(Role::Model, None).await?;
        let egress = Helper::start(Role::Egress, Some(model.address)).await?;
        let looking = Client::connect(model.address, None).await?;
        let plan = Plan { binary, provider: model.address, log: "warn" };
        Ok(Self { plan, effort, echo, model, egress, looking })
    }

    /// The requests to the model since this was asked last.
    pub(crate) async fn calls(&mut self) -> anyhow::Result<Vec<Call>> {
        Ok(serde_json::from_value(self.looking.get("/_log").await?)?)
    }

    /// Waits until so many answers are held back.
    pub(crate) async fn held(&mut self, count: usize) -> anyhow::Result<()> {
        let waiting = async {
            while self.looking.get("/_held").await?.as_u64() != u64::try_from(count).ok() {
                tokio::time::sleep(limits::LOOK).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(limits::WAIT, waiting).await.with_context(|| format!("the model never held {count} answers"))?
    }

    /// Lets go what is held back.
    pub(crate) async fn release(&mut self) -> anyhow::Result<()> {
        self.looking.get("/_release").await.map(drop)
    }
}

/// What sessions are made of.
#[derive(Debug, Clone)]
pub(crate) struct Kit {
    agent: String,
    environment: String,
}

impl Kit {
    /// An agent with the built-in tools, all allowed, and an environment.
    pub(crate) async fn make(client: &mut Client) -> anyhow::Result<Self> {
        let agent = json!({"name": "bench", "model": "scripted-model", "tools": [{"type": "agent_toolset_20260401"}]});
        let agent = id(&client.post("/v1/agents", &agent).await?)?;
        let environment = id(&client.post("/v1/environments", &json!({"name": "bench", "config": {"type": "cloud"}})).await?)?;
        Ok(Self { agent, environment })
    }

    /// Makes a session; gives its path.
    pub(crate) async fn session(&self, client: &mut Client) -> anyhow::Result<String> {
        let session = client.post("/v1/sessions", &json!({"agent": self.agent, "environment_id": self.environment})).await?;
        Ok(format!("/v1/sessions/{}", id(&session)?))
    }

    /// Makes many sessions; gives their paths.
    pub(crate) async fn sessions(&self, server: &Server, count: usize) -> anyhow::Result<Vec<String>> {
        let makers = (0..limits::MAKERS).map(|maker| async move {
            let mut client = server.client().await?;
            let mut made = Vec::new();
            for _ in (maker..count).step_by(limits::MAKERS) {
                made.push(self.session(&mut client).await?);
            }
            anyhow::Ok(made)
        });
        Ok(futures::future::try_join_all(makers).await?.concat())
    }
}

fn id(made: &Value) -> anyhow::Result<String> {
    made["id"].as_str().map(str::to_owned).context("what was made has no id")
}

/// The body of a message.
pub(crate) fn message(text: &str) -> Value {
    json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]})
}

/// When a turn began and ended, on [`crate::clock`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// When its message was sent.
    pub(crate) sent: u64,
    /// When a follower had the idle event.
    pub(crate) idle: u64,
}

/// One session with one who writes and one who follows.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) path: String,
    pub(crate) client: Client,
    pub(crate) follower: Follower,
}

impl Session {
    /// Makes a session and follows it; `query` is added to the path of the stream.
    pub(crate) async fn open(server: &Server, kit: &Kit, query: &str) -> anyhow::Result<Self> {
        let mut client = server.client().await?;
        let path = kit.session(&mut client).await?;
        let follower = server.client().await?.follow(&format!("{path}/events/stream{query}")).await?;
        Ok(Self { path, client, follower })
    }

    /// Sends a message and waits for the end of its turn.
    pub(crate) async fn turn(&mut self, text: &str) -> anyhow::Result<Turn> {
        let sent = crate::clock::now();
        let path = format!("{}/events", self.path);
        let body = Bytes::from(message(text).to_string());
        let both = async { futures::try_join!(self.client.send_only(&path, body), self.follower.until("session.status_idle")) };
        let (_, idle) = tokio::time::timeout(limits::WAIT, both).await.context("a turn does not end")??;
        Ok(Turn { sent, idle: idle.at })
    }

    /// So many turns that are not measured.
    pub(crate) async fn warm(&mut self, turns: usize) -> anyhow::Result<()> {
        for _ in 0..turns {
            self.turn("bench:say").await?;
        }
        Ok(())
    }

    /// Deletes it with its sandbox.
    pub(crate) async fn delete(mut self) -> anyhow::Result<()> {
        self.client.delete(&self.path).await.map(drop)
    }
}
