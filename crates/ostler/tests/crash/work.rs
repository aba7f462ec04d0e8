//! The work that is interrupted by deaths: one turn of twenty commands, one after the other, each
//! of which leaves a line behind.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::journal;
use crate::support::events::Frame;
use crate::support::session::{bash, message};
use crate::support::{Server, Session, tools};

/// Commands of the turn.
const CALLS: usize = 20;
/// The most events that one life at random sees before it ends.
const EVENTS_OF_A_LIFE: u64 = 9;
/// Lives in a row in which nothing need get done; in the next one, something must. One less than the
/// server bears.
const LIVES_IN_VAIN: u32 = 2;
/// The longest wait behind the last of them, in milliseconds.
const WAIT_OF_A_LIFE_MS: u64 = 40;

fn script() -> String {
    let mut script = String::new();
    for number in 1..=CALLS {
        script.push_str(&format!("SAY step {number}\n{}\nSTEP\n", bash(&format!("echo {number} >> /workspace/lines"))));
    }
    script + &bash("cat /workspace/lines") + "\nSTEP\nSAY {{last_tool_result}}"
}

/// The lines that must be there at the end.
fn lines() -> Vec<String> {
    (1..=CALLS).map(|number| number.to_string()).collect()
}

/// A number that follows from the last.
pub(crate) fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// The turn, and what its client has seen of it.
#[derive(Debug)]
pub(crate) struct Work {
    session: Session,
    seen: Vec<Frame>,
    lives_in_vain: u32,
}

impl Work {
    pub(crate) async fn begin(server: &Server) -> Self {
        Self { session: server.session(tools()).await, seen: Vec::new(), lives_in_vain: 0 }
    }

    fn position(&self) -> u64 {
        self.seen.last().and_then(|frame| frame.id).unwrap_or(0)
    }

    fn is_over(&self) -> bool {
        self.seen.last().is_some_and(|frame| frame.name == "session.status_idle")
    }

    /// Gives the task if the server does not have it, and follows until this many events were seen.
    /// False when the connection ends before.
    async fn follow(&mut self, session: &Session, events: u64) -> bool {
        let path = format!("{}/events/stream", session.path());
        if !self.is_given(session).await.unwrap_or(false) {
            match session.try_send(json!([message(&script())])).await {
                Some((status, _)) if status.is_success() => {}
                // It dies, or is about to.
                None | Some((StatusCode::SERVICE_UNAVAILABLE, _)) => return false,
                Some((status, body)) => panic!("the task is refused: {status} {body}"),
            }
        }
        let Some(mut stream) = session.api.try_stream(&path, Some(self.position())).await else { return false };
        for _ in 0..events {
            if self.is_over() {
                return true;
            }
            let Some(frame) = stream.next().await else { return false };
            self.seen.push(frame);
        }
        true
    }

    /// Whether the task reached the server; nothing when it does not answer.
    async fn is_given(&self, session: &Session) -> Option<bool> {
        if !self.seen.is_empty() {
            return Some(true);
        }
        let request = session.api.request(reqwest::Method::GET, &format!("{}/events", session.path()));
        let (_, list) = crate::support::Api::ask(request).await.ok()?;
        Some(list["data"].as_array().is_some_and(|events| !events.is_empty()))
    }

    /// Works until the turn is over (true) or the server has died (false).
    pub(crate) async fn go_on(&mut self, server: &mut Server) -> bool {
        if server.has_died_starting().await {
            return false;
        }
        let session = self.session.on(&server.api);
        let done = self.follow(&session, u64::MAX).await;
        if !done {
            server.ended().await;
        }
        done
    }

    /// Works until a random moment (false), or until the turn is over (true).
    pub(crate) async fn go_on_until(&mut self, server: &mut Server, random: &mut u64) -> bool {
        let session = self.session.on(&server.api);
        // What earlier lives did is not taken for work of this one, however late it is seen.
        let done_before = session.history().await.len() as u64;
        let mut events = 1 + next(random) % EVENTS_OF_A_LIFE;
        let got_on = loop {
            assert!(self.follow(&session, events).await, "the server died by itself:\n{}", server.log().text());
            let got_on = self.seen.iter().any(|frame| frame.id > Some(done_before) && frame.name.starts_with("agent.tool_"));
            // A session that does not get on is set aside, which is right and not what is tested.
            if got_on || self.is_over() || self.lives_in_vain < LIVES_IN_VAIN {
                break got_on;
            }
            events = 1;
        };
        self.lives_in_vain = if got_on { 0 } else { self.lives_in_vain + 1 };
        tokio::time::sleep(Duration::from_millis(next(random) % WAIT_OF_A_LIFE_MS)).await;
        self.is_over()
    }

    /// Checks everything that must hold when the turn is over; the server is stopped afterwards.
    pub(crate) async fn verify(&self, server: &mut Server) {
        let session = self.session.on(&server.api);
        assert_eq!(session.get().await["status"], "idle");
        let ids: Vec<_> = self.seen.iter().map(|frame| frame.id.unwrap()).collect();
        assert_eq!(ids, (1..=self.seen.len() as u64).collect::<Vec<_>>(), "positions are dense and nothing was seen twice");
        let seen: Vec<&Value> = self.seen.iter().map(|frame| &frame.data).collect();
        let listed = session.history().await;
        assert_eq!(seen, listed.iter().collect::<Vec<_>>(), "what was streamed is what is listed");
        let last = self.seen.last().unwrap();
        let of = |name: &str| self.seen.iter().filter(|frame| frame.name == name).collect::<Vec<_>>();
        assert!(of("session.error").is_empty(), "{:?}", of("session.error"));
        assert_eq!(last.text("/stop_reason/type"), "end_turn", "{}", last.data);
        assert_eq!((of("agent.tool_use").len(), of("agent.tool_result").len()), (CALLS + 1, CALLS + 1));
        assert!(of("agent.tool_result").iter().all(|result| result.data["is_error"] == false), "a call failed");
        let answer = of("agent.message").last().unwrap().said();
        assert_eq!(answer.lines().collect::<Vec<_>>(), lines(), "every line stands exactly once, in order");
        assert_eq!(server.model.violations(), [""; 0]);
        server.kill().await;
        journal::verify(server.data_dir(), &self.session.id).await;
    }
}
