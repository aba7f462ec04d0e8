//! A model whose answers are scripted by what the user says, behind the Anthropic Messages API and
//! behind OpenAI Chat Completions. The script language is described in `script`. It also checks each request it gets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::recording::{Outcome, RecordedRequest, Recording};
use crate::routes::router;

/// A running server; dropping it stops it from taking connections.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    recording: Arc<Recording>,
    serving: JoinHandle<()>,
}

impl ModelServer {
    /// Starts on a free port of the loopback.
    ///
    /// # Panics
    /// When the loopback has no free port, which is for a test to fail on.
    #[expect(clippy::expect_used, reason = "a test without its server fails here, with the cause")]
    pub async fn start() -> Self {
        Self::bind(0).await.expect("the loopback has a free port")
    }

    /// Starts on this port of the loopback; 0 takes any.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let recording = Arc::new(Recording::new());
        let app = router(recording.clone());
        let serving = tokio::spawn(async move {
            // Serving ends with the task; accept errors are retried inside.
            let _ = axum::serve(listener.tap_io(undelayed), app).await;
        });
        Ok(Self { address, recording, serving })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The provider's base URL, without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.recording.requests()
    }

    /// The rules that requests broke so far; each of them was answered with 400.
    pub fn violations(&self) -> Vec<String> {
        self.recording.violations()
    }

    /// Opens a gate, for those that wait and for all that come.
    pub fn open(&self, gate: &str) {
        self.recording.open(gate);
    }

    /// Waits until an answer has come to this gate.
    pub async fn reached(&self, gate: &str) {
        self.recording.reached(gate).await;
    }

    /// Waits until this many requests have arrived.
    pub async fn wait_for_requests(&self, count: u64) {
        self.recording.counted(count).await;
    }

    /// Waits until request `number` (from 1) has ended, and says how.
    pub async fn outcome_of(&self, number: u64) -> Outcome {
        self.recording.ended(number).await
    }

    /// Forgets requests, violations, counted failures and gates.
    pub fn reset(&self) {
        self.recording.reset();
    }

    /// Serves until the task is cancelled; for the binary.
    pub async fn serve_forever(mut self) {
        // The task never ends by itself, and a panic in it has been printed.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Small pieces of an answer leave at once; a delay of the kernel would look like one of the server
/// under test.
fn undelayed(stream: &mut TcpStream) {
    // Only makes a test slower.
    let _ = stream.set_nodelay(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    async fn post(server: &ModelServer, body: &Value) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}/v1/messages", server.base_url())).header("anthropic-version", "2023-06-01").json(body);
        request.send().await.unwrap()
    }

    fn ask(script: &str, stream: bool) -> Value {
        json!({"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": script}]})
    }

    fn events(text: &str) -> Vec<Value> {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_stream_has_the_scripted_blocks() {
        let server = ModelServer::start().await;
        let script = "USAGE 1 2 3 4\nTHINK hm\nSAY a long enough text\nTOOL bash {\"command\": \"echo {{model}}\"}";
        let text = post(&server, &ask(script, true)).await.text().await.unwrap();
        let events = events(&text);
        let kinds: Vec<_> =
            events.iter().filter(|e| e["type"] == "content_block_start").map(|e| e["content_block"]["type"].clone()).collect();
        assert_eq!(kinds, ["thinking", "text", "tool_use"]);
        let join = |field: &str| events.iter().filter_map(|e| e["delta"][field].as_str()).collect::<String>();
        assert_eq!(join("text"), "a long enough text");
        assert_eq!(join("partial_json"), "{\"command\":\"echo m\"}");
        let delta = events.iter().find(|e| e["type"] == "message_delta").unwrap();
        assert_eq!(delta["delta"]["stop_reason"], "tool_use");
        assert_eq!(delta["usage"]["cache_creation_input_tokens"], 4);
        assert_eq!(events.last().unwrap()["type"], "message_stop");
        assert_eq!(server.outcome_of(1).await, Outcome::Answered);
    }

    async fn chat(server: &ModelServer, path: &str, body: &Value) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}{path}", server.base_url())).header("authorization", "Bearer k").json(body);
        request.send().await.unwrap()
    }

    #[tokio::test]
    async fn the_same_script_plays_in_chat_completions() {
        let server = ModelServer::start().await;
        let script = "USAGE 1 2 3 4\nTHINK hm\nSAY a long enough text\nTOOL bash {\"command\": \"echo {{model}} {{tools}}\"}\nTOOL read {}\nSAY so {{last_tool_result}} {{last_tool_error}}";
        let tools = json!([{"type": "function", "function": {"name": "bash", "parameters": {}}}]);
        let mut body = json!({"model": "m", "max_tokens": 9, "stream": true, "stream_options": {"include_usage": true}, "tools": tools,
            "messages": [{"role": "user", "content": script}]});
        let text = chat(&server, "/v1/chat/completions", &body).await.text().await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"));
        let chunks = events(text.trim_end_matches("data: [DONE]\n\n"));
        let join = |field: &str| chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str()).collect::<String>();
        assert_eq!((join("content"), join("reasoning_content")), ("a long enough text".to_owned(), "hm".to_owned()));
        let entries: Vec<&Value> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0)).collect();
        let ids: Vec<&Value> = entries.iter().map(|entry| &entry["id"]).filter(|id| id.is_string()).collect();
        let arguments = |index: usize| {
            let own = entries.iter().filter(|entry| entry["index"] == index);
            own.filter_map(|entry| entry["function"]["arguments"].as_str()).collect::<String>()
        };
        assert_eq!((ids.len(), arguments(0), arguments(1)), (2, "{\"command\":\"echo m bash\"}".to_owned(), "{}".to_owned()));
        let last = &chunks[chunks.len() - 1];
        assert_eq!((&last["usage"]["prompt_tokens"], &last["usage"]["prompt_tokens_details"]["cached_tokens"]), (&json!(8), &json!(3)));
        assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "tool_calls");

        let call = |id: &Value| json!({"id": id, "type": "function", "function": {"name": "bash", "arguments": "{}"}});
        let result = |id: &Value, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
        body["messages"].as_array_mut().unwrap().extend([
            json!({"role": "assistant", "content": null, "tool_calls": [call(ids[0]), call(ids[1])]}),
            result(ids[0], "fine"),
            result(ids[1], "Error: broken"),
        ]);
        body["stream"] = json!(false);
        body.as_object_mut().unwrap().remove("stream_options");
        let answer: Value = chat(&server, "/chat/completions", &body).await.json().await.unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "so Error: broken true");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(server.violations(), Vec::<String>::new());
        let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(paths, ["/v1/chat/completions", "/chat/completions"]);
    }

    #[tokio::test]
    async fn chat_completions_fail_break_and_refuse_as_scripted() {
        let server = ModelServer::start().await;
        let ask = |script: &str| json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": script}]});
        let path = "/v1/chat/completions";
        let refused = chat(&server, path, &ask("FAIL 429 1 7\nSAY x")).await;
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "7"));
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "rate_limit_exceeded");
        let cut = chat(&server, path, &ask("SAY abcdefghijklmnopqrstuvwxyz\nDISCONNECT")).await.text().await;
        assert!(cut.is_err());
        let broken = chat(&server, path, &ask("SAY abcdefghijklmnopqrstuvwxyz\nERROR_EVENT server_error")).await.text().await.unwrap();
        assert_eq!(events(&broken).last().unwrap()["error"]["type"], "server_error");
        assert_eq!(server.outcome_of(3).await, Outcome::BrokenOff);
        let orphan = json!({"model": "m", "messages": [{"role": "tool", "tool_call_id": "x", "content": "r"}]});
        assert_eq!(chat(&server, path, &orphan).await.status(), 400);
        assert_eq!(server.violations().len(), 1);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let models: Value = client.get(format!("{}/v1/models", server.base_url())).send().await.unwrap().json().await.unwrap();
        assert_eq!((&models["object"], &models["data"][0]["object"]), (&json!("list"), &json!("model")));
    }

    #[tokio::test]
    async fn whole_messages_scripts_that_ended_and_echoes() {
        let server = ModelServer::start().await;
        let answer: Value = post(&server, &ask("SAY hi", false)).await.json().await.unwrap();
        assert_eq!(answer["content"], json!([{"type": "text", "text": "hi"}]));
        let answer: Value = post(&server, &ask("just words", false)).await.json().await.unwrap();
        assert_eq!(answer["content"][0]["text"], "OK: just words");
        let mut over = ask("SAY hi", false);
        over["messages"]
            .as_array_mut()
            .unwrap()
            .extend([json!({"role": "assistant", "content": "hi"}), json!({"role": "user", "content": "plain"})]);
        let answer: Value = post(&server, &over).await.json().await.unwrap();
        assert_eq!(answer["content"][0]["text"], "DONE");
    }

    #[tokio::test]
    async fn failures_are_counted() {
        let server = ModelServer::start().await;
        let script = ask("FAIL 429 2 7\nSAY ok", false);
        for _ in 0..2 {
            let response = post(&server, &script).await;
            assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "7"));
        }
        assert_eq!(post(&server, &script).await.status(), 200);
        assert_eq!(server.requests()[0].outcome, Outcome::Failed { status: 429 });
    }

    #[tokio::test]
    async fn broken_requests_are_refused_and_remembered() {
        let server = ModelServer::start().await;
        let response = post(&server, &json!({"model": "m", "max_tokens": 1, "messages": []})).await;
        assert_eq!(response.status(), 400);
        assert!(response.text().await.unwrap().contains("non-empty"));
        assert_eq!(server.violations().len(), 1);
        assert!(server.violations()[0].starts_with("request 1: messages"));
    }

    #[tokio::test]
    async fn a_gate_holds_an_answer_until_it_is_opened() {
        let server = ModelServer::start().await;
        let mut response = post(&server, &ask("SAY before\nGATE g\nSAY after", true)).await;
        server.reached("g").await;
        let mut text = String::new();
        while !text.contains("content_block_stop") {
            text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
        }
        assert!(!text.contains("after"));
        assert_eq!(server.requests()[0].outcome, Outcome::Pending);
        server.open("g");
        text.push_str(&response.text().await.unwrap());
        assert!(text.contains("after") && text.contains("message_stop"));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed() {
        let server = ModelServer::start().await;
        let response = post(&server, &ask("GATE never\nSAY x", true)).await;
        server.reached("never").await;
        drop(response);
        assert_eq!(server.outcome_of(1).await, Outcome::Aborted);
    }

    #[tokio::test]
    async fn cuts_and_error_events_end_a_stream_half_way() {
        let server = ModelServer::start().await;
        let cut = post(&server, &ask("SAY abcdefghijklmnopqrstuvwxyz\nDISCONNECT", true)).await.text().await;
        assert!(cut.is_err());
        assert_eq!(server.outcome_of(1).await, Outcome::Disconnected);
        let broken = post(&server, &ask("SAY abcdefghijklmnopqrstuvwxyz\nERROR_EVENT api_error", true)).await.text().await.unwrap();
        let events = events(&broken);
        assert_eq!(events.last().unwrap()["error"]["type"], "api_error");
        assert!(events.iter().any(|event| event["type"] == "content_block_delta"));
        assert_eq!(server.outcome_of(2).await, Outcome::BrokenOff);
    }
}
