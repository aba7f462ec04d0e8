//! Sandboxes are known to egress for as long as they are needed, with what their session may at that moment.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ostler_core::egress::Terms;
use ostler_core::egress::policy::Network;
use ostler_core::ids::SessionId;
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
}

impl Broker {
    pub(crate) fn new(serves: bool) -> Self {
        let known = watch::Sender::new(HashMap::new());
        Self { key: KeyPair::generate().unwrap().public().clone(), serves, known, is_down: AtomicBool::new(false) }
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
