//! A session in a test: inputs go in as verbs, events and effects come out as short words.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::call::{CallEnd, CallOutcome};
use crate::cost::Price;
use crate::error::Refusal;
use crate::events::client::parse;
use crate::events::wire::{Event, EventBody, StopReason};
use crate::ids::{AgentId, ApiKeyId, EventId, IdSource, IncarnationId, ThreadId};
use crate::model::{BlockKind, ModelError, ModelErrorKind, ModelResponse, ModelStop, ResponseBlock, TokenUsage};
use crate::resources::agent::AgentBody;
use crate::resources::budget::BudgetLimit;
use crate::resources::metadata::Metadata;
use crate::resources::session::SessionAgent;
use crate::scope::Principal;
use crate::session::context::Context;
use crate::session::effect::Effect;
use crate::session::mcp::McpTool;
use crate::session::plan::{ModelPlan, ModelTarget, TargetName};
use crate::session::project::{Shared, project};
use crate::session::record::{Record, RecordBody};
use crate::session::state::{Phase, State};
use crate::session::step::{Input, Now, SharedBudget, Step, create, step};
use crate::time::Timestamp;

pub(super) struct Story {
    pub(super) state: State,
    pub(super) records: Vec<Record>,
    pub(super) echo: Vec<Event>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    context: Context,
    ids: IdSource,
    at: i64,
    pub(super) plan: Arc<ModelPlan>,
    pub(super) shared_budget: SharedBudget,
}

/// A plan of so many models; the n-th costs n dollars per million tokens of input, twice that of output.
pub(super) fn plan(models: u64) -> ModelPlan {
    let target = |n: u64| {
        let input = n * 1_000_000;
        let price = Price { input, output: 2 * input, cache_read: input / 10, cache_write: input, cache_write_1h: input };
        ModelTarget { at: TargetName { provider: format!("p{n}"), model: "m".into() }, price: Some(price) }
    };
    ModelPlan { targets: (1..=models).map(target).collect(), problem: None, max_tokens: 10_000, overhead_tokens: 0 }
}

pub(super) fn now(at: i64, seed: u64, plan: &ModelPlan) -> Now<'_> {
    Now { at: Timestamp(at), seed, plan, shared_budget: SharedBudget::Open }
}

impl Story {
    /// A session whose agent runs `bash` and `read`, asks for `edit`, judges `write` and `grep` by
    /// `auto`, has no `glob`, and whose client runs `lookup`.
    pub(super) fn new() -> Self {
        Self::with(json!({"tools": [
            {"type": "agent_toolset_20260401", "configs": [
                {"name": "edit", "permission_policy": {"type": "always_ask"}},
                {"name": "write", "permission_policy": {"type": "auto"}},
                {"name": "grep", "permission_policy": {"type": "auto"}},
                {"name": "web_fetch", "permission_policy": {"type": "auto"}},
                {"name": "glob", "enabled": false}
            ]},
            {"type": "custom", "name": "lookup", "description": "d", "input_schema": {"type": "object"}}
        ]}))
    }

    pub(super) fn with(agent: Value) -> Self {
        Self::made(agent, plan(1), None)
    }

    pub(super) fn made(mut agent: Value, plan: ModelPlan, budget: Option<BudgetLimit>) -> Self {
        let plan = Arc::new(plan);
        agent["name"] = json!("helper");
        agent["model"] = json!("m");
        let body = AgentBody::create(serde_json::from_value(agent).unwrap()).unwrap();
        let mut ids = IdSource::new(7, 7);
        let agent = Arc::new(SessionAgent::new(AgentId::mint(&mut ids), 1, body));
        let created = RecordBody::Created {
            thread: ThreadId::mint(&mut ids),
            agent,
            title: None,
            metadata: Metadata::new(),
            budget,
            vaults: Vec::new(),
        };
        let first = create(created, Vec::new(), &Principal::System, now(1_000_000, 1, &plan)).unwrap();
        let mut story = Self {
            state: first.state.clone(),
            records: Vec::new(),
            echo: Vec::new(),
            events: Vec::new(),
            effects: Vec::new(),
            context: Context::default(),
            ids,
            at: 1_000_000,
            plan,
            shared_budget: SharedBudget::Open,
        };
        story.take(first);
        story
    }

    pub(super) fn principal() -> Principal {
        Principal::ApiKey { id: ApiKeyId::mint(&mut IdSource::new(2, 2)) }
    }

    fn decide(&mut self, input: Input) -> Result<Step, Refusal> {
        self.at += 1_000;
        let now = Now { shared_budget: self.shared_budget, ..now(self.at, self.ids.next_u64(), &self.plan) };
        step(&self.state, input, now)
    }

    fn take(&mut self, step: Step) {
        let shared = Shared { thread: step.state.thread.clone(), agent_name: step.state.agent.name.clone() };
        for record in &step.records {
            self.events.extend(project(record, &shared));
            self.context.push(record);
        }
        self.records.extend(step.records);
        assert_eq!(State::fold(&self.records).as_ref(), Some(&step.state), "the journal folds to the state");
        (self.state, self.effects, self.echo) = (step.state, step.effects, step.echo);
    }

    /// Any input that must be taken.
    pub(super) fn happens(&mut self, input: Input) -> &mut Self {
        let step = self.decide(input).unwrap();
        self.take(step);
        self
    }

    /// Any input that must be refused; why it was.
    pub(super) fn refuses(&mut self, input: Input) -> String {
        self.decide(input).unwrap_err().message
    }

    pub(super) fn request(events: Value) -> Input {
        Input::Send { events: parse(events.as_array().unwrap().clone()).unwrap(), principal: Self::principal() }
    }

    pub(super) fn send(&mut self, events: Value) -> &mut Self {
        self.happens(Self::request(events))
    }

    pub(super) fn message(&mut self, text: &str) -> &mut Self {
        self.send(json!([message(text)]))
    }

    pub(super) fn interrupt(&mut self) -> &mut Self {
        self.send(json!([{"type": "user.interrupt"}]))
    }

    pub(super) fn answered(&mut self, blocks: Vec<(BlockKind, Value)>, stop: ModelStop) -> &mut Self {
        self.answers_with(blocks, stop, TokenUsage { input_tokens: 10, output_tokens: 5, ..TokenUsage::default() })
    }

    pub(super) fn answers_with(&mut self, blocks: Vec<(BlockKind, Value)>, stop: ModelStop, usage: TokenUsage) -> &mut Self {
        let Phase::Requesting { effect, .. } = self.state.phase.clone() else { panic!("no request is under way: {:?}", self.state.phase) };
        let blocks = blocks.into_iter().map(|(kind, raw)| ResponseBlock { event_id: EventId::mint(&mut self.ids), kind, raw }).collect();
        self.happens(Input::ModelAnswered { effect, response: Box::new(ModelResponse { blocks, stop, usage, model: "m-1".into() }) })
    }

    /// The model says this and is done.
    pub(super) fn says(&mut self, words: &str) -> &mut Self {
        self.answered(vec![text(words)], ModelStop::EndTurn)
    }

    /// The model calls these tools.
    pub(super) fn calls(&mut self, names: &[&str]) -> &mut Self {
        self.answered(names.iter().map(|name| call(name, true)).collect(), ModelStop::ToolUse)
    }

    pub(super) fn fails(&mut self, kind: ModelErrorKind) -> &mut Self {
        let Phase::Requesting { effect, .. } = self.state.phase.clone() else { panic!("no request is under way: {:?}", self.state.phase) };
        let error = ModelError { kind, message: "broke".into(), retry_after_ms: None, usage: TokenUsage::default(), billed: false };
        self.happens(Input::ModelFailed { effect, error, delay_ms: 100 })
    }

    pub(super) fn timer(&mut self) -> &mut Self {
        let Phase::Backoff { timer, .. } = self.state.phase.clone() else { panic!("no timer runs: {:?}", self.state.phase) };
        self.happens(Input::TimerFired { timer })
    }

    /// The next sandbox lives.
    pub(super) fn sandbox(&mut self) -> &mut Self {
        let incarnation = IncarnationId::mint(&mut self.ids);
        self.happens(Input::SandboxStarted { incarnation })
    }

    /// The id of the n-th call of the last answer.
    pub(super) fn call(&self, n: usize) -> EventId {
        self.state.calls[n].id.clone()
    }

    pub(super) fn finishes(&mut self, n: usize) -> &mut Self {
        let call = self.call(n);
        self.happens(Input::CallFinished { call, outcome: CallOutcome::text(format!("out {n}"), false, CallEnd::Finished) })
    }

    pub(super) fn loses(&mut self, n: usize) -> &mut Self {
        let (call, incarnation) = (self.call(n), self.state.calls[n].incarnation.clone().unwrap());
        self.happens(Input::CallLost { call, incarnation, why: None })
    }

    pub(super) fn never_received(&mut self, n: usize) -> &mut Self {
        let (call, incarnation) = (self.call(n), self.state.calls[n].incarnation.clone().unwrap());
        self.happens(Input::CallNeverReceived { call, incarnation })
    }

    pub(super) fn wait_minutes(&mut self, minutes: i64) -> &mut Self {
        self.at += minutes * 60_000_000;
        self
    }

    /// An MCP server lists tools, each described so.
    pub(super) fn lists(&mut self, server: &str, tools: &[(&str, &str)]) -> &mut Self {
        let tool = |(name, description): &(&str, &str)| McpTool {
            name: (*name).into(),
            description: (*description).into(),
            input_schema: json!({"type": "object"}),
        };
        let url = self.state.agent.mcp_servers[0].url.clone();
        self.happens(Input::McpListed { server: server.into(), url, tools: tools.iter().map(tool).collect() })
    }

    pub(super) fn recovers(&mut self) -> &mut Self {
        self.happens(Input::Recovered)
    }

    pub(super) fn allow(&self, n: usize) -> Value {
        json!({"type": "user.tool_confirmation", "tool_use_id": self.call(n), "result": "allow"})
    }

    pub(super) fn deny(&self, n: usize) -> Value {
        json!({"type": "user.tool_confirmation", "tool_use_id": self.call(n), "result": "deny", "deny_message": "too risky"})
    }

    pub(super) fn result(&self, n: usize) -> Value {
        json!({"type": "user.custom_tool_result", "custom_tool_use_id": self.call(n), "content": [{"type": "text", "text": "42"}]})
    }

    /// The kinds of the events since the last look.
    pub(super) fn kinds(&mut self) -> Vec<&'static str> {
        self.events.drain(..).map(|event| event.body.kind()).collect()
    }

    /// The events since the last look, in short words; those of the thread and of the usage are
    /// left out, because the simulation checks their places.
    pub(super) fn told(&mut self) -> String {
        let words: Vec<String> = std::mem::take(&mut self.events).iter().filter_map(|event| word(&event.body)).collect();
        words.join(" ")
    }

    /// What the last input started.
    pub(super) fn started(&self) -> String {
        let name = |call: &EventId| self.state.call(call).map_or_else(String::new, |call| call.name.clone());
        let words: Vec<String> = self
            .effects
            .iter()
            .map(|effect| match effect {
                Effect::CallModel { attempt, .. } => format!("model:{attempt}"),
                Effect::CancelModel { .. } => "cancel-model".into(),
                Effect::SetTimer { .. } => "timer".into(),
                Effect::StartSandbox => "sandbox".into(),
                Effect::RunCall { call, .. } => format!("run:{}", name(call)),
                Effect::RunRemote { call } => format!("remote:{}", name(call)),
                Effect::ListMcpTools { server, .. } => format!("list:{server}"),
                Effect::CancelCall { call } => format!("cancel:{}", name(call)),
            })
            .collect();
        words.join(" ")
    }

    /// What the model would be sent.
    pub(super) fn conversation(&self) -> Vec<Value> {
        self.context.messages().iter().map(|message| serde_json::from_str(message.text()).unwrap()).collect()
    }
}

pub(super) fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

pub(super) fn system(text: &str) -> Value {
    json!({"type": "system.message", "content": [{"type": "text", "text": text}]})
}

pub(super) fn text(words: &str) -> (BlockKind, Value) {
    (BlockKind::Text { text: words.into() }, json!({"type": "text", "text": words}))
}

pub(super) fn call(name: &str, complete: bool) -> (BlockKind, Value) {
    let (id, input) = (format!("toolu_{name}"), json!({"command": "ls"}));
    (
        BlockKind::ToolCall { id: id.clone(), name: name.into(), input: input.clone(), complete },
        json!({"type": "tool_use", "id": id, "name": name, "input": input}),
    )
}

fn word(body: &EventBody) -> Option<String> {
    let idle = |stop: &StopReason| match stop {
        StopReason::EndTurn {} => "idle".to_owned(),
        StopReason::RequiresAction { event_ids } => format!("waits:{}", event_ids.len()),
        StopReason::RetriesExhausted {} => "exhausted".to_owned(),
        StopReason::Refusal {} => "refused".to_owned(),
        StopReason::BudgetReached {} => "capped".to_owned(),
    };
    let word = match body {
        EventBody::ThreadStatusRunning { .. }
        | EventBody::ThreadStatusIdle { .. }
        | EventBody::ThreadStatusRescheduled { .. }
        | EventBody::ThreadStatusTerminated { .. }
        | EventBody::SessionUsage { .. } => return None,
        EventBody::SessionStatusIdle { stop_reason, .. } => idle(stop_reason),
        EventBody::ModelRequestStart {} => "[".to_owned(),
        EventBody::ModelRequestEnd { is_error, .. } => if *is_error { "!]" } else { "]" }.to_owned(),
        EventBody::AgentToolUse { name, .. } | EventBody::AgentCustomToolUse { name, .. } => format!("use:{name}"),
        EventBody::AgentMcpToolUse { mcp_server_name, name, .. } => format!("use:{mcp_server_name}/{name}"),
        EventBody::AgentMcpToolResult { is_error, .. } => if *is_error { "far-result!" } else { "far-result" }.to_owned(),
        EventBody::AgentToolResult { is_error, .. } => if *is_error { "result!" } else { "result" }.to_owned(),
        other => other.kind().trim_start_matches("session.status_").trim_start_matches("session.").trim_start_matches("agent.").to_owned(),
    };
    Some(word)
}
