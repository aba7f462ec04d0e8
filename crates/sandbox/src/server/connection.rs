//! A handle on one life of a sandbox: calls are given to it and waited for. Holds no socket; the
//! task behind it does, and mends it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ostler_core::call::CallOutcome;
use ostler_core::ids::{EventId, IncarnationId};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::doors;
use super::link::{self, Address};
use crate::error::{AttachError, CallError, SandboxError};
use crate::limits;
use crate::protocol::init::{KnownCall, ToInit};

/// A call to be run inside.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// Its id; no id is run twice.
    pub id: EventId,
    /// The tool.
    pub tool: String,
    /// The tool's input, not checked.
    pub input: Value,
    /// Its time in milliseconds; None for the tool's own.
    pub timeout_ms: Option<u64>,
    /// Variables of its shell beside those that it has.
    pub environment: BTreeMap<String, String>,
}

/// A handle on one life of a sandbox. Dropping it ends nothing inside.
#[derive(Debug, Clone)]
pub struct Connection {
    incarnation: IncarnationId,
    address: Address,
    calls: Arc<Calls>,
    commands: mpsc::Sender<ToInit>,
}

impl Connection {
    pub(super) async fn open(address: Address) -> Result<Self, AttachError> {
        let opened = link::open(&address).await?;
        let known = opened.calls.iter().map(|call| call.call_id.clone()).collect();
        let calls = Arc::new(Calls { state: Mutex::new(State { known, ..State::default() }) });
        let (commands, queue) = mpsc::channel(limits::CONNECTION_QUEUE);
        let incarnation = address.incarnation.clone();
        tokio::spawn(link::keep(address.clone(), Arc::clone(&calls), opened, queue));
        Ok(Self { incarnation, address, calls, commands })
    }

    /// The life that this is a handle on.
    pub fn incarnation(&self) -> &IncarnationId {
        &self.incarnation
    }

    /// The listeners of the sandbox's network; none where it has no way out. They may be asked for again.
    ///
    /// # Errors
    /// When init cannot be reached.
    pub async fn doors(&self) -> Result<Option<Vec<OwnedFd>>, SandboxError> {
        doors::ask(self.address.clone()).await
    }

    /// Whether this life has received the call, as far as was seen: before this connection and
    /// not yet acknowledged, or over it.
    pub fn knows(&self, call: &EventId) -> bool {
        self.calls.lock().known.contains(call)
    }

    /// Gives the call to this life unless it has it already, and waits for its outcome. Connects
    /// again by itself when only the connection broke. Giving up the wait does not end the call.
    pub async fn run(&self, call: &CallRequest) -> Result<CallOutcome, CallError> {
        let message = ToInit::Run {
            call_id: call.id.clone(),
            tool: call.tool.clone(),
            input: call.input.clone(),
            timeout_ms: call.timeout_ms,
            environment: call.environment.clone(),
            lease_deadline_boot_ms: None,
        };
        let (mut result, is_new) = self.calls.wait_for(&call.id, &message);
        if is_new {
            // If the task behind is gone, it has settled the call.
            let _ = self.commands.send(message).await;
        }
        match result.wait_for(Option::is_some).await {
            Ok(settled) => settled.clone().unwrap_or(Err(CallError::Lost { why: None })),
            Err(_) => Err(CallError::Lost { why: None }),
        }
    }

    /// Ends a call; its outcome then says so, once its processes are gone. May be repeated.
    pub async fn cancel(&self, call: &EventId) {
        self.calls.cancelled(call);
        let _ = self.commands.send(ToInit::Cancel { call_id: call.clone() }).await;
    }

    /// The outcome is in the journal and need not be kept inside. May be repeated.
    pub async fn acknowledge(&self, call: &EventId) {
        self.calls.acknowledged(call);
        let _ = self.commands.send(ToInit::Acknowledge { call_id: call.clone() }).await;
    }
}

type Settled = Option<Result<CallOutcome, CallError>>;

#[derive(Debug)]
struct Waited {
    message: ToInit,
    received: bool,
    cancelled: bool,
    result: watch::Sender<Settled>,
}

#[derive(Debug, Default)]
struct State {
    known: HashSet<EventId>,
    waited: HashMap<EventId, Waited>,
    acknowledged: HashSet<EventId>,
    /// Set when the task behind the connection has ended; says what later calls get.
    ended: bool,
}

/// The calls of one connection, shared with the task behind it.
#[derive(Debug)]
pub(super) struct Calls {
    state: Mutex<State>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place where the outcome will be, and whether the call is new here.
    fn wait_for(&self, call: &EventId, message: &ToInit) -> (watch::Receiver<Settled>, bool) {
        let mut state = self.lock();
        if let Some(waited) = state.waited.get(call) {
            return (waited.result.subscribe(), false);
        }
        if state.ended {
            let verdict = if state.known.contains(call) { CallError::Lost { why: None } } else { CallError::NeverReceived };
            return (watch::channel(Some(Err(verdict))).1, false);
        }
        let (result, receiver) = watch::channel(None);
        let received = !state.known.insert(call.clone());
        state.waited.insert(call.clone(), Waited { message: message.clone(), received, cancelled: false, result });
        (receiver, true)
    }

    /// Whether that is news.
    pub(super) fn received(&self, call: &EventId) -> bool {
        self.lock().waited.get_mut(call).is_some_and(|waited| !std::mem::replace(&mut waited.received, true))
    }

    /// Whether the call was open.
    pub(super) fn settle(&self, call: &EventId, outcome: Result<CallOutcome, CallError>) -> bool {
        let mut state = self.lock();
        if matches!(outcome, Err(CallError::Refused(_) | CallError::NeverReceived)) {
            state.known.remove(call);
            if let Some(waited) = state.waited.remove(call) {
                return waited.result.send_replace(Some(outcome)).is_none();
            }
        } else if let Some(waited) = state.waited.get_mut(call)
            && waited.result.borrow().is_none()
        {
            waited.received = true;
            waited.result.send_replace(Some(outcome));
            return true;
        }
        false
    }

    fn cancelled(&self, call: &EventId) {
        if let Some(waited) = self.lock().waited.get_mut(call) {
            waited.cancelled = true;
        }
    }

    fn acknowledged(&self, call: &EventId) {
        let mut state = self.lock();
        state.waited.remove(call);
        state.acknowledged.insert(call.clone());
    }

    /// What to say again on a new way to an init that knows these calls.
    pub(super) fn to_repeat(&self, known: &[KnownCall]) -> Vec<ToInit> {
        let mut state = self.lock();
        state.known.extend(known.iter().map(|call| call.call_id.clone()));
        let open = state.waited.iter().filter(|(_, waited)| waited.result.borrow().is_none());
        let mut messages: Vec<ToInit> = open.clone().map(|(_, waited)| waited.message.clone()).collect();
        messages.extend(open.filter(|(_, waited)| waited.cancelled).map(|(call, _)| ToInit::Cancel { call_id: call.clone() }));
        let lost = known.iter().filter(|call| state.acknowledged.contains(&call.call_id));
        messages.extend(lost.map(|call| ToInit::Acknowledge { call_id: call.call_id.clone() }));
        messages
    }

    /// Settles everything that is open, as `fate` says.
    pub(super) fn end(&self, fate: impl Fn(&EventId, bool) -> Result<CallOutcome, CallError>) {
        let open: Vec<(EventId, bool)> = {
            let mut state = self.lock();
            state.ended = true;
            state
                .waited
                .iter()
                .filter(|(_, waited)| waited.result.borrow().is_none())
                .map(|(call, waited)| (call.clone(), waited.received))
                .collect()
        };
        for (call, received) in open {
            let outcome = fate(&call, received);
            self.settle(&call, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::call::CallEnd;

    fn calls() -> Calls {
        Calls { state: Mutex::default() }
    }

    fn cancel(id: &str) -> (EventId, ToInit) {
        let call: EventId = id.parse().unwrap();
        (call.clone(), ToInit::Cancel { call_id: call })
    }

    #[test]
    fn what_is_open_is_said_again_and_what_is_settled_is_not() {
        let calls = calls();
        let ((open, open_message), (done, done_message)) = (cancel("sevt_1"), cancel("sevt_2"));
        assert!(calls.wait_for(&open, &open_message).1);
        assert!(calls.wait_for(&done, &done_message).1);
        assert!(!calls.wait_for(&open, &open_message).1);
        calls.settle(&done, Ok(CallOutcome::text("x", false, CallEnd::Finished)));
        assert_eq!(calls.to_repeat(&[]), [open_message]);
    }

    #[test]
    fn an_acknowledgement_that_was_lost_is_repeated() {
        let calls = calls();
        let (call, message) = cancel("sevt_1");
        calls.wait_for(&call, &message);
        calls.acknowledged(&call);
        assert_eq!(calls.to_repeat(&[]), []);
        let known = KnownCall { call_id: call.clone(), state: crate::protocol::init::CallState::Finished };
        assert_eq!(calls.to_repeat(&[known]), [ToInit::Acknowledge { call_id: call }]);
    }

    #[test]
    fn after_the_end_calls_are_settled_by_what_is_known_of_them() {
        let calls = calls();
        let ((seen, message), (unseen, _)) = (cancel("sevt_1"), cancel("sevt_2"));
        let (seen_result, _) = calls.wait_for(&seen, &message);
        let (unseen_result, _) = calls.wait_for(&unseen, &message);
        calls.received(&seen);
        calls.end(|_, received| if received { Err(CallError::Lost { why: None }) } else { Err(CallError::NeverReceived) });
        assert_eq!(*seen_result.borrow(), Some(Err(CallError::Lost { why: None })));
        assert_eq!(*unseen_result.borrow(), Some(Err(CallError::NeverReceived)));
        let (later, _) = cancel("sevt_3");
        assert_eq!(*calls.wait_for(&later, &message).0.borrow(), Some(Err(CallError::NeverReceived)));
    }

    /// An init that says what it is told to.
    struct Scripted {
        dir: tempfile::TempDir,
        listener: tokio::net::UnixListener,
    }

    impl Scripted {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(crate::layout::SECRET), "secret").unwrap();
            std::fs::create_dir(dir.path().join(crate::layout::RESULTS)).unwrap();
            std::fs::write(dir.path().join(crate::layout::RESULTS).join(crate::layout::LIFE), "inc_1").unwrap();
            let listener = tokio::net::UnixListener::bind(dir.path().join(crate::layout::INIT_SOCKET)).unwrap();
            Self { dir, listener }
        }

        fn address(&self) -> Address {
            Address { dir: self.dir.path().into(), incarnation: "inc_1".parse().unwrap(), epoch: 1 }
        }

        async fn greeted(&self) -> tokio::net::UnixStream {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            assert!(matches!(heard(&mut stream).await, ToInit::Hello { version: 2, epoch: 1, .. }));
            let welcome = crate::protocol::init::FromInit::Welcome { version: 2, incarnation: "inc_1".parse().unwrap(), calls: Vec::new() };
            super::super::wire::send(&mut stream, &welcome).await.unwrap();
            stream
        }
    }

    async fn heard(stream: &mut tokio::net::UnixStream) -> ToInit {
        super::super::wire::Incoming::new(stream).next().await.unwrap()
    }

    #[tokio::test]
    async fn a_broken_connection_is_mended_and_what_is_open_is_asked_again() {
        let init = Scripted::new();
        let (connection, mut stream) = tokio::join!(Connection::open(init.address()), init.greeted());
        let connection = connection.unwrap();
        let call = CallRequest {
            id: "sevt_1".parse().unwrap(),
            tool: "bash".into(),
            input: Value::Null,
            timeout_ms: None,
            environment: BTreeMap::new(),
        };
        let outcome = CallOutcome::text("done", false, CallEnd::Finished);
        let script = async {
            let first = heard(&mut stream).await;
            drop(stream);
            let mut again = init.greeted().await;
            assert_eq!(heard(&mut again).await, first);
            let finished = crate::protocol::init::FromInit::Finished { call_id: call.id.clone(), outcome: outcome.clone() };
            super::super::wire::send(&mut again, &finished).await.unwrap();
            again
        };
        let (result, _open) = tokio::join!(connection.run(&call), script);
        assert_eq!(result, Ok(outcome));
    }

    #[tokio::test]
    async fn an_init_that_always_hangs_up_is_asked_slowly_and_not_for_ever() {
        let init = Scripted::new();
        let (connection, mut stream) = tokio::join!(Connection::open(init.address()), init.greeted());
        let connection = connection.unwrap();
        let request = |id: &str| CallRequest {
            id: id.parse().unwrap(),
            tool: "bash".into(),
            input: Value::Null,
            timeout_ms: None,
            environment: BTreeMap::new(),
        };
        let (accepted, noted, unheard) = (request("sevt_1"), request("sevt_2"), request("sevt_3"));
        std::fs::write(init.dir.path().join(crate::layout::RESULTS).join("sevt_2"), "").unwrap();
        let received = crate::protocol::init::FromInit::Received { call_id: accepted.id.clone() };
        let started = tokio::time::Instant::now();
        let mut connections = 1;
        let script = async {
            loop {
                // What it says more than once is nothing new.
                super::super::wire::send(&mut stream, &received).await.unwrap();
                heard(&mut stream).await;
                drop(stream);
                stream = init.greeted().await;
                connections += 1;
            }
        };
        let results = async { tokio::join!(connection.run(&accepted), connection.run(&noted), connection.run(&unheard)) };
        let (accepted, noted, unheard) = tokio::select! {
            results = results => results,
            () = script => unreachable!(),
        };
        assert_eq!((accepted, noted), (Err(CallError::Lost { why: None }), Err(CallError::Lost { why: None })));
        assert!(matches!(unheard, Err(CallError::Refused(_))), "{unheard:?}");
        assert!((limits::FRUITLESS_CONNECTIONS..2 * limits::FRUITLESS_CONNECTIONS).contains(&connections), "{connections}");
        assert!(started.elapsed() >= limits::RECONNECT_DELAY * (limits::FRUITLESS_CONNECTIONS - 1));
    }

    #[tokio::test]
    async fn a_call_that_init_noted_is_lost_with_it_and_one_that_it_did_not_was_never_received() {
        for (noted, verdict) in [(true, CallError::Lost { why: None }), (false, CallError::NeverReceived)] {
            let init = Scripted::new();
            let (connection, mut stream) = tokio::join!(Connection::open(init.address()), init.greeted());
            let connection = connection.unwrap();
            let call = CallRequest {
                id: "sevt_1".parse().unwrap(),
                tool: "bash".into(),
                input: Value::Null,
                timeout_ms: None,
                environment: BTreeMap::new(),
            };
            let script = async {
                heard(&mut stream).await;
                if noted {
                    std::fs::write(init.dir.path().join(crate::layout::RESULTS).join("sevt_1"), "").unwrap();
                }
                let Scripted { dir, listener } = init;
                drop((listener, stream));
                dir
            };
            let (result, _dir) = tokio::join!(connection.run(&call), script);
            assert_eq!(result, Err(verdict));
        }
    }
}
