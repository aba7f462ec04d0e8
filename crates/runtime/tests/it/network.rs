//! Sandboxes are known to egress for as long as they are needed, with what their session may at that moment.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ostler_core::egress::policy::Network;
use ostler_core::egress::{Question, Terms};
use ostler_core::events::client::Confirmation;
use ostler_core::ids::SessionId;
use ostler_core::resources::confirmation::{Asked, Remember};
use ostler_core::resources::environment::EnvironmentBody;
use ostler_core::scope::Scope;
use ostler_runtime::egress::{Egress, EgressError, Owner, TokenAnswer, TokenToRenew};
use ostler_runtime::network::Changed;
use ostler_runtime::parking::Rest;
use ostler_seal::open::KeyPair;
use ostler_seal::{Binding, PublicKey, Sealed};
use ostler_store::{Document, Store as _};
use serde_json::json;
use tokio::sync::watch;

use crate::node::{Node, Sandboxes};

/// An egress that only remembers.
#[derive(Debug)]
pub(crate) struct Broker {
    key: PublicKey,
    /// Whether it serves sandboxes; without, they are offline.
    serves: bool,
    known: watch::Sender<HashMap<SessionId, Terms>>,
    is_down: AtomicBool,
    /// The requests that wait, and the answers that were given to single ones.
    waiting: Mutex<Vec<(SessionId, Question)>>,
    settled: watch::Sender<Vec<(Question, bool)>>,
}

impl Broker {
    pub(crate) fn new(serves: bool) -> Self {
        let known = watch::Sender::new(HashMap::new());
        Self {
            key: KeyPair::generate().unwrap().public().clone(),
            serves,
            known,
            is_down: AtomicBool::new(false),
            waiting: Mutex::default(),
            settled: watch::Sender::default(),
        }
    }

    fn up(&self) -> Result<(), EgressError> {
        if self.is_down.load(Ordering::Relaxed) { Err(EgressError::Unavailable("it is down".into())) } else { Ok(()) }
    }

    /// Waits until what it knows of a session is so.
    async fn knows(&self, session: &SessionId, is_so: impl Fn(Option<&Terms>) -> bool) {
        self.known.subscribe().wait_for(|known| is_so(known.get(session))).await.unwrap();
    }
}

#[async_trait]
impl Egress for Broker {
    fn public_key(&self) -> PublicKey {
        self.key.clone()
    }

    async fn reseal(&self, _: &Owner, sealed: &Sealed, _: &Binding) -> Result<Sealed, EgressError> {
        Ok(sealed.clone())
    }

    async fn renew_token(&self, _: TokenToRenew) -> Result<TokenAnswer, EgressError> {
        Err(EgressError::Unavailable("it reaches nobody".into()))
    }

    fn calls(&self) -> Option<&std::path::Path> {
        None
    }

    fn serves_sandboxes(&self) -> bool {
        self.serves
    }

    async fn admit(&self, session: &SessionId, terms: &Terms, _: Vec<OwnedFd>) -> Result<Vec<String>, EgressError> {
        self.up()?;
        self.known.send_modify(|known| drop(known.insert(session.clone(), terms.clone())));
        Ok(Vec::new())
    }

    async fn change(&self, session: &SessionId, terms: &Terms) -> Result<Option<Vec<String>>, EgressError> {
        self.up()?;
        let mut is_known = false;
        self.known.send_modify(|known| {
            if let Some(held) = known.get_mut(session) {
                (*held, is_known) = (terms.clone(), true);
            }
        });
        Ok(is_known.then(Vec::new))
    }

    async fn renew(&self, sessions: &[SessionId]) -> Result<Vec<SessionId>, EgressError> {
        self.up()?;
        let known = self.known.borrow();
        Ok(sessions.iter().filter(|session| !known.contains_key(*session)).cloned().collect())
    }

    async fn questions(&self) -> Result<Vec<(SessionId, Vec<Question>)>, EgressError> {
        self.up()?;
        Ok(self.waiting.lock().unwrap().iter().map(|(session, question)| (session.clone(), vec![question.clone()])).collect())
    }

    async fn settle(&self, _: &SessionId, question: Question, is_allowed: bool) -> Result<(), EgressError> {
        self.up()?;
        self.waiting.lock().unwrap().retain(|(_, waiting)| *waiting != question);
        self.settled.send_modify(|settled| settled.push((question, is_allowed)));
        Ok(())
    }

    async fn release(&self, session: &SessionId) -> Result<(), EgressError> {
        self.up()?;
        self.known.send_modify(|known| drop(known.remove(session)));
        Ok(())
    }
}

async fn served() -> (Node, Arc<Broker>, SessionId) {
    let broker = Arc::new(Broker::new(true));
    let node = Node::start_on(Rest::default(), Sandboxes::with(Arc::clone(&broker))).await;
    tokio::spawn(node.router.clone().watch_networks());
    let session = node.session(json!([{"type": "agent_toolset_20260401"}])).await;
    let mut tail = node.follow(&session, ostler_runtime::subscribe::StartAt::Now).await;
    node.say(&session, "TOOL bash {\"command\": \"x\"}\nSAY done").await;
    tail.idle().await;
    (node, broker, session)
}

fn is_open(terms: Option<&Terms>) -> bool {
    terms.is_some_and(|terms| terms.policy.network == Network::Unrestricted)
}

#[tokio::test]
async fn a_sandbox_is_known_again_to_an_egress_that_was_started_anew() {
    let (_node, broker, session) = served().await;
    broker.knows(&session, |terms| terms.is_some()).await;
    broker.known.send_modify(HashMap::clear);
    broker.knows(&session, |terms| terms.is_some()).await;
}

#[tokio::test]
async fn what_changes_while_egress_is_away_is_told_when_it_is_back() {
    let (node, broker, session) = served().await;
    broker.knows(&session, |terms| terms.is_some_and(|terms| terms.policy.network == Network::None)).await;
    let row = node.store_row(&session).await;
    let Scope::Tenant(tenant) = &node.scope else { panic!("a node has a tenant") };
    let body = EnvironmentBody::create(serde_json::from_value(json!({"name": "e"})).unwrap()).unwrap();
    let environment = Document {
        kind: "environment".into(),
        id: row.environment_id.to_string(),
        organization: tenant.organization.clone(),
        workspace: tenant.workspace.clone(),
        version: 1,
        lock: 1,
        created_at: row.created_at,
        updated_at: row.created_at,
        archived_at: None,
        family: None,
        body: serde_json::to_string(&body).unwrap(),
        sealed: None,
    };
    node.store.insert_document(&node.scope, &environment).await.unwrap();
    broker.is_down.store(true, Ordering::Relaxed);
    node.router.changed(Changed::Environment(&row.environment_id)).await;
    assert!(!is_open(broker.known.borrow().get(&session)));
    broker.is_down.store(false, Ordering::Relaxed);
    broker.knows(&session, is_open).await;
}

/// The only question that a session keeps, once it is so.
async fn kept(node: &Node, session: &SessionId, is_so: impl Fn(&Asked) -> bool) -> Asked {
    loop {
        let mut found = node.router.confirmations(&node.scope, session).await.unwrap();
        if let Some(asked) = found.pop().filter(&is_so) {
            assert!(found.is_empty(), "{found:?}");
            return asked;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_that_waits_is_asked_about_once_and_answered_once() {
    let (node, broker, session) = served().await;
    broker.knows(&session, |terms| terms.is_some()).await;
    let question = Question { host: "a.test".into(), port: 443, method: "POST".into(), path: Some("/x".into()), rule: "ask a.test".into() };
    let asks = || broker.waiting.lock().unwrap().push((session.clone(), question.clone()));
    let answer = |id, result, remember| node.router.answer_confirmation(&node.scope, &session, id, result, remember);

    asks();
    let asked = kept(&node, &session, |_| true).await;
    assert_eq!((&asked.question, &asked.answer), (&question, &None));
    answer(&asked.id, Confirmation::Allow, Remember::Once).await.unwrap();
    assert!(answer(&asked.id, Confirmation::Deny, Remember::Once).await.is_err());
    broker.settled.subscribe().wait_for(|settled| settled[..] == [(question.clone(), true)]).await.unwrap();
    assert!(node.router.confirmations(&node.scope, &session).await.unwrap().is_empty(), "it is used up");
    assert!(broker.known.borrow()[&session].answers.is_empty(), "what counts once is no part of the terms");

    asks();
    let again = kept(&node, &session, |_| true).await;
    assert_ne!(again.id, asked.id);
    answer(&again.id, Confirmation::Deny, Remember::Session).await.unwrap();
    let is_denied = |terms: Option<&Terms>| terms.is_some_and(|terms| terms.answers.len() == 1 && !terms.answers[0].is_allowed);
    broker.knows(&session, is_denied).await;
    broker.known.send_modify(HashMap::clear);
    broker.knows(&session, is_denied).await;
    assert_eq!(kept(&node, &session, |_| true).await.id, again.id, "what is remembered is not asked again");
    assert_eq!(broker.settled.borrow().len(), 1);
}
