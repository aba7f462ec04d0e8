//! The servers connected to init: who may be one, what they ask, and the results they are owed.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::Instant;

use nix::poll::PollFlags;
use ostler_core::ids::EventId;
use serde::Deserialize;

use super::Init;
use super::calls::{Asked, Taken, lost_result};
use crate::limits;
use crate::peer::Peer;
use crate::protocol::init::{FromInit, ToInit};
use crate::protocol::{self, VERSION, frame};

/// A connection, and the results that are still to be sent over it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) peer: Peer,
    owed: VecDeque<EventId>,
    epoch: u64,
}

impl Server {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, owed: VecDeque::new(), epoch: 0 }
    }

    /// A result is to be sent; it is read from disk only when there is room for it.
    pub(super) fn owe(&mut self, call: &EventId) {
        if self.peer.greeted && !self.owed.contains(call) {
            self.owed.push_back(call.clone());
        }
    }
}

/// What can be read of a call that is not understood, however deep its input is nested.
#[derive(Debug, Deserialize)]
struct UnreadRun {
    #[serde(rename = "type")]
    _kind: Run,
    call_id: EventId,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Run {
    Run,
}

/// What follows from a message.
enum Next {
    Say(FromInit),
    Owe(EventId),
    SayAndLeave(FromInit),
    HandOut(Vec<RawFd>),
    Nothing,
    Stop,
}

impl Init {
    /// Reads and answers one server. True if the sandbox is to end.
    pub(super) fn attend(&mut self, key: u64, flags: PollFlags) -> bool {
        let Some(mut server) = self.peers.remove(&key) else { return false };
        if flags.contains(PollFlags::POLLOUT) && server.peer.flush().is_err() {
            return false;
        }
        let readable = flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR);
        if readable && !server.peer.receive().unwrap_or(false) {
            return false;
        }
        while !server.peer.leaving {
            let next = match server.peer.next::<ToInit>() {
                Ok(Some(message)) => self.hear(&mut server, message),
                Ok(None) => break,
                Err(error) => match server.peer.next::<UnreadRun>() {
                    Ok(Some(run)) if server.peer.greeted => {
                        Next::Say(refused(Some(run.call_id), format!("the call cannot be read: {error}")))
                    }
                    _ => Next::SayAndLeave(refused(None, error.to_string())),
                },
            };
            let said = match next {
                Next::Say(message) => server.peer.send(&message),
                Next::SayAndLeave(message) => {
                    server.peer.leaving = true;
                    server.peer.send(&message)
                }
                Next::HandOut(doors) => server.peer.send_with(&FromInit::Doors { count: doors.len() }, &doors),
                Next::Owe(call) => {
                    server.owe(&call);
                    Ok(())
                }
                Next::Nothing => Ok(()),
                Next::Stop => return true,
            };
            if said.is_err() {
                return false;
            }
        }
        self.peers.insert(key, server);
        false
    }

    fn hear(&mut self, server: &mut Server, message: ToInit) -> Next {
        match message {
            ToInit::Hello { version, secret, epoch } => self.greet(server, version, &secret, epoch),
            _ if !server.peer.greeted => Next::SayAndLeave(refused(None, "no hello came first".into())),
            ToInit::Run { call_id, tool, input, timeout_ms, environment, lease_deadline_boot_ms } => {
                if lease_deadline_boot_ms.is_some_and(|deadline| crate::sys::boot_ms() > deadline) {
                    return Next::Say(refused(Some(call_id), "the server's lease is over".into()));
                }
                match self.calls.take(&call_id, &tool, Asked { input, timeout_ms, environment }) {
                    Taken::Running => Next::Say(FromInit::Received { call_id }),
                    Taken::Settled => Next::Owe(call_id),
                    Taken::Refused(reason) => Next::Say(refused(Some(call_id), reason)),
                }
            }
            ToInit::Cancel { call_id } => {
                self.calls.cancel(&call_id);
                Next::Nothing
            }
            ToInit::Fetch { call_id } => {
                if self.calls.is_settled(&call_id) {
                    Next::Owe(call_id)
                } else {
                    Next::Nothing
                }
            }
            ToInit::Acknowledge { call_id } => {
                self.calls.acknowledge(&call_id);
                Next::Nothing
            }
            ToInit::Doors => match &self.doors {
                Some(doors) => Next::HandOut(doors.descriptors()),
                None => Next::Say(refused(None, "this sandbox has no network".into())),
            },
            ToInit::Stop => Next::Stop,
        }
    }

    fn greet(&mut self, server: &mut Server, version: u32, secret: &str, epoch: u64) -> Next {
        if !same(secret.as_bytes(), self.secret.as_bytes()) {
            return Next::SayAndLeave(refused(None, "the secret is wrong".into()));
        }
        if !protocol::speaks(version) {
            return Next::SayAndLeave(refused(
                None,
                format!("the server speaks version {version} and this sandbox {VERSION}; end the session's sandbox"),
            ));
        }
        if epoch < self.epoch {
            return Next::SayAndLeave(refused(None, format!("a server of epoch {} has taken over from epoch {epoch}", self.epoch)));
        }
        self.epoch = epoch;
        self.peers.retain(|_, other| !other.peer.greeted || other.epoch >= epoch);
        server.epoch = epoch;
        server.peer.greeted = true;
        Next::Say(FromInit::Welcome { version: VERSION, incarnation: self.incarnation.clone(), calls: self.calls.known() })
    }

    /// Sends what is owed, one result at a time, and lets go of those who are done or too late.
    pub(super) fn deliver(&mut self) {
        let calls = &self.calls;
        self.peers.retain(|_, server| {
            while server.peer.is_idle()
                && let Some(call) = server.owed.pop_front()
            {
                let Some(result) = calls.result(&call) else { continue };
                // Without any answer to give, only the end of the sandbox is the truth.
                let frame = finished(&call, result).unwrap_or_else(|| crate::sys::exit_now(1));
                if server.peer.send_frame(&frame).is_err() {
                    return false;
                }
            }
            let late = !server.peer.greeted && Instant::now() >= server.peer.since + limits::HELLO_DEADLINE;
            let done = server.peer.leaving && server.peer.is_idle();
            !(late || done)
        });
    }
}

/// The result as a message, without looking into it; one that is too long for a message as lost.
fn finished(call: &EventId, result: Vec<u8>) -> Option<Vec<u8>> {
    let mut body = format!("{{\"type\":\"finished\",\"call_id\":\"{call}\",\"outcome\":").into_bytes();
    body.extend(result);
    body.push(b'}');
    let lost = || frame::encode(&FromInit::Finished { call_id: call.clone(), outcome: lost_result() });
    frame::wrap(&body).or_else(|_| lost()).ok()
}

fn refused(call_id: Option<EventId>, reason: String) -> FromInit {
    FromInit::Refused { call_id, reason }
}

/// Compares without telling by its duration where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0_u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::call::{CallEnd, CallOutcome};

    #[test]
    fn a_result_put_into_its_message_reads_as_that_message() {
        let call: EventId = "sevt_1".parse().unwrap();
        let outcome = CallOutcome::text("x\"y", false, CallEnd::Finished);
        let frame = finished(&call, serde_json::to_vec(&outcome).unwrap()).unwrap();
        let read: FromInit = serde_json::from_slice(&frame[4..]).unwrap();
        assert_eq!(read, FromInit::Finished { call_id: call, outcome });
    }

    #[test]
    fn a_result_that_is_too_long_for_a_message_is_answered_all_the_same() {
        let call: EventId = "sevt_1".parse().unwrap();
        let frame = finished(&call, vec![b' '; limits::MAX_FRAME]).unwrap();
        let read: FromInit = serde_json::from_slice(&frame[4..]).unwrap();
        assert_eq!(read, FromInit::Finished { call_id: call, outcome: lost_result() });
    }

    #[test]
    fn only_a_call_to_be_run_is_refused_by_its_id() {
        let named = |text: &str| serde_json::from_str::<UnreadRun>(text).ok().map(|run| run.call_id.to_string());
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        assert_eq!(named(&format!(r#"{{"type":"run","call_id":"sevt_1","tool":"bash","input":{deep}}}"#)), Some("sevt_1".into()));
        assert_eq!(named(r#"{"type":"cancel","call_id":"sevt_1","tool":1}"#), None);
        assert_eq!(named(r#"{"type":"run"}"#), None);
    }

    #[test]
    fn only_equal_secrets_are_the_same() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"ab", b"abc"));
        assert!(!same(b"", b"abc"));
    }
}
