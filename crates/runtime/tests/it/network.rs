//! Sandboxes are known to egress for as long as they are needed, with what their session may at that moment.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ostler_core::egress::policy::{Code, Network};
use ostler_core::egress::{Lost, Question, Record, Terms, Unusable};
use ostler_core::events::client::Confirmation;
use ostler_core::ids::{CredentialId, SessionId, VaultId};
use ostler_core::resources::confirmation::{Asked, Remember};
use ostler_core::resources::environment::EnvironmentBody;
use ostler_core::scope::Scope;
use ostler_core::time::Timestamp;
use ostler_runtime::egress::{Egress, EgressError, Fetched, Owner, TokenAnswer, TokenToRenew};
use ostler_runtime::network::Changed;
use ostler_runtime::parking::Rest;
use ostler_runtime::router::NewSession;
use ostler_seal::open::KeyPair;
use ostler_seal::{Binding, Bound, Hosts, KeyId, Places, PublicKey, Sealed};
use ostler_store::{Document, Family, NetworkQuery, Store as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::node::{Node, Sandboxes, new_session};

/// An egress that only remembers.
#[derive(Debug)]
pub(crate) struct Broker {
    key: PublicKey,
    /// Whether it serves sandboxes; without, they are offline.
    serves: bool,
    known: watch::Sender<HashMap<SessionId, Terms>>,
    is_down: AtomicBool,
    /// What it will say that happened.
    happened: Mutex<Fetched>,
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
            happened: Mutex::default(),
            waiting: Mutex::default(),
            settled: watch::Sender::default(),
        }
    }

    fn up(&self) -> Result<(), EgressError> {
        if self.is_down.load(Ordering::Relaxed) { Err(EgressError::Unavailable("it is down".into())) } else { Ok(()) }
    }

    /// Those that are sealed for another key.
    fn unusable(&self, terms: &Terms) -> Vec<Unusable> {
        let is_other = |sealed: &str| sealed.parse::<Sealed>().unwrap().key() != &self.key.id();
        let unusable = terms.grants.iter().filter(|grant| is_other(&grant.sealed));
        unusable.map(|grant| Unusable { credential: grant.credential.clone(), reason: "another key".into() }).collect()
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

    fn key_ids(&self) -> Vec<KeyId> {
        vec![self.key.id()]
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

    async fn admit(&self, session: &SessionId, terms: &Terms, _: Vec<OwnedFd>) -> Result<Vec<Unusable>, EgressError> {
        self.up()?;
        self.known.send_modify(|known| drop(known.insert(session.clone(), terms.clone())));
        Ok(self.unusable(terms))
    }

    async fn change(&self, session: &SessionId, terms: &Terms) -> Result<Option<Vec<Unusable>>, EgressError> {
        self.up()?;
        let mut is_known = false;
        self.known.send_modify(|known| {
            if let Some(held) = known.get_mut(session) {
                (*held, is_known) = (terms.clone(), true);
            }
        });
        Ok(is_known.then(|| self.unusable(terms)))
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

    async fn records(&self, _: usize) -> Result<Fetched, EgressError> {
        self.up()?;
        Ok(std::mem::take(&mut *self.happened.lock().unwrap()))
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
    let environment = environment(&node, &session, open_environment()).await;
    node.store.insert_document(&node.scope, &environment).await.unwrap();
    broker.is_down.store(true, Ordering::Relaxed);
    node.router.changed(Changed::Environment(&environment.id.parse().unwrap())).await;
    assert!(!is_open(broker.known.borrow().get(&session)));
    broker.is_down.store(false, Ordering::Relaxed);
    broker.knows(&session, is_open).await;
}

/// The environment of a session, as its document would be with this body.
async fn environment(node: &Node, session: &SessionId, body: String) -> Document {
    let row = node.store_row(session).await;
    let Scope::Tenant(tenant) = &node.scope else { panic!("a node has a tenant") };
    Document {
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
        body,
        sealed: None,
    }
}

fn open_environment() -> String {
    let body = EnvironmentBody::create(serde_json::from_value(json!({"name": "e"})).unwrap()).unwrap();
    serde_json::to_string(&body).unwrap()
}

#[tokio::test]
async fn a_sandbox_whose_environment_cannot_be_read_reaches_nothing_until_it_can() {
    let (node, broker, session) = served().await;
    let mut document = environment(&node, &session, open_environment()).await;
    node.store.insert_document(&node.scope, &document).await.unwrap();
    let id = document.id.parse().unwrap();
    node.router.changed(Changed::Environment(&id)).await;
    assert!(is_open(broker.known.borrow().get(&session)));
    (document.body, document.lock) = ("{}".into(), 2);
    assert!(node.store.replace_document(&node.scope, &document, 1, false).await.unwrap());
    node.router.changed(Changed::Environment(&id)).await;
    assert!(!is_open(broker.known.borrow().get(&session)));
    (document.body, document.lock) = (open_environment(), 3);
    assert!(node.store.replace_document(&node.scope, &document, 2, false).await.unwrap());
    // Nobody says that it changed.
    broker.knows(&session, is_open).await;
}

fn record(session: &SessionId, host: &str, is_allowed: bool) -> Record {
    Record {
        session: session.clone(),
        at_ms: 1_700_000_000_000,
        call: None,
        host: host.into(),
        port: 443,
        method: "GET".into(),
        path: Some("/x".into()),
        status: is_allowed.then_some(200),
        sent: 3,
        received: 5,
        is_allowed,
        code: if is_allowed { Code::Allowed } else { Code::HostNotAllowed },
        rule: "networking: limited".into(),
        credentials: Vec::new(),
    }
}

#[tokio::test]
async fn what_sandboxes_did_is_fetched_counted_and_kept() {
    let (node, broker, session) = served().await;
    let happened = Fetched {
        records: vec![
            record(&session, "a.com", true),
            record(&"sesn_gone".parse().unwrap(), "a.com", true),
            record(&session, "b.com", false),
        ],
        dropped: vec![Lost { session: session.clone(), count: 7 }],
    };
    *broker.happened.lock().unwrap() = happened;
    let query = NetworkQuery { limit: 10, ..NetworkQuery::default() };
    let lines = loop {
        let lines = node.store.network_lines(&node.scope, &session, &query).await.unwrap().unwrap();
        if !lines.is_empty() {
            break lines;
        }
        tokio::task::yield_now().await;
    };
    let bodies: Vec<Value> = lines.iter().map(|line| serde_json::from_str(&line.body).unwrap()).collect();
    assert_eq!(bodies[0], json!({"type": "network_dropped", "count": 7}));
    assert_eq!((&bodies[1]["decision"], &bodies[1]["host"], &bodies[1]["status"]), (&json!("denied"), &json!("b.com"), &Value::Null));
    assert_eq!(
        (&bodies[2]["decision"], &bodies[2]["bytes_received"], &bodies[2]["tool_use_id"]),
        (&json!("allowed"), &json!(5), &Value::Null)
    );
    let counts = node.router.egress_counts();
    assert_eq!((counts.requests[&Code::Allowed], counts.requests[&Code::HostNotAllowed]), (2, 1));
    assert_eq!((counts.sent, counts.received, counts.dropped, counts.sandboxes), (9, 15, 7, 1));
}

/// Puts a credential into a vault, sealed for a key. Its secret is `hidden`.
pub(crate) async fn credential(node: &Node, key: &PublicKey, vault: &VaultId, name: &str, host: &str) -> CredentialId {
    let Scope::Tenant(tenant) = &node.scope else { panic!("a node has a tenant") };
    let id: CredentialId = format!("vcrd_{}", name.to_lowercase()).parse().unwrap();
    let auth = json!({"type": "environment_variable", "secret_name": name, "injection_location": {"header": true, "body": false},
        "networking": {"type": "limited", "allowed_hosts": [host]}});
    let binding = Binding {
        organization: tenant.organization.clone(),
        workspace: tenant.workspace.clone(),
        vault: vault.clone(),
        credential: id.clone(),
        part: "secret_value".into(),
        version: 1,
        bound: Bound::EnvironmentVariable {
            name: name.into(),
            hosts: Hosts::Only(vec![host.into()]),
            places: Places { header: true, body: false },
        },
    };
    let sealed = ostler_seal::seal(key, &binding, b"hidden").unwrap().to_string();
    let document = Document {
        kind: "vault_credential".into(),
        id: id.to_string(),
        organization: tenant.organization.clone(),
        workspace: tenant.workspace.clone(),
        version: 1,
        lock: 1,
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
        archived_at: None,
        family: Some(Family { parent: vault.to_string(), key: format!("env:{name}") }),
        body: json!({"auth": auth, "metadata": {}}).to_string(),
        sealed: Some(json!({"secret_value": sealed}).to_string()),
    };
    node.store.insert_document(&node.scope, &document).await.unwrap();
    id
}

#[tokio::test]
async fn a_session_is_told_once_of_credentials_that_it_cannot_use() {
    let broker = Arc::new(Broker::new(true));
    let node = Node::start_on(Rest::default(), Sandboxes::with(Arc::clone(&broker))).await;
    tokio::spawn(node.router.clone().watch_networks());
    let vault: VaultId = "vlt_1".parse().unwrap();
    // Nothing is reachable here, because there is no environment.
    let far = credential(&node, &broker.key, &vault, "FAR", "a.com").await;
    let closed = credential(&node, KeyPair::generate().unwrap().public(), &vault, "CLOSED", "b.com").await;
    let new = NewSession { vaults: vec![vault.clone()], ..new_session(json!([{"type": "agent_toolset_20260401"}]), Vec::new()) };
    let session = node.router.create(&node.scope, new).await.unwrap().id;
    let mut tail = node.follow(&session, ostler_runtime::subscribe::StartAt::Now).await;
    node.say(&session, "TOOL bash {\"command\": \"x\"}\nSAY done").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(tail.until("session.error").await["error"].clone());
    }
    let unreachable: Vec<&Value> = told.iter().filter(|error| error["type"] == "credential_host_unreachable_error").collect();
    assert_eq!(
        unreachable.iter().map(|error| (text(&error["credential_id"]), text(&error["vault_id"]))).collect::<HashSet<_>>(),
        [&far, &closed].map(|credential| (credential.to_string(), vault.to_string())).into()
    );
    let unusable = told.iter().find(|error| error["type"] == "unknown_error").unwrap();
    assert!(text(&unusable["message"]).contains(closed.as_str()) && !text(&unusable["message"]).contains("hidden"), "{unusable}");
    // What is found again is not told again; what is new comes after it.
    node.router.changed(Changed::Vault(&vault)).await;
    let late = credential(&node, &broker.key, &vault, "LATE", "c.com").await;
    node.router.changed(Changed::Everything).await;
    assert_eq!(tail.until("session.error").await["error"]["credential_id"], late.as_str());
    let history = node.history(&session).await;
    assert_eq!(history.iter().filter(|event| event["type"] == "session.error").count(), 4);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
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
