//! MCP servers of sessions: connected to when their tools are asked for or called, with the credential of the session's vaults, through egress.
//! A connection is kept while its session is awake and its credential stays what it is.

pub(crate) mod credential;
mod validate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::egress::Judged;
use ostler_core::egress::policy::{self, Code, Decision, Policy};
use ostler_core::ids::{CredentialId, EnvironmentId, EventId, OrganizationId, SessionId, VaultId, WorkspaceId};
use ostler_core::resources::agent::McpServer;
use ostler_core::session::calls::Call;
use ostler_core::session::mcp::McpTool;
use ostler_mcp::{Connection, Failure, Target};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use url::Url;

use self::credential::{Found, NotRenewed, find, renew};
use crate::environment;
use crate::session::deps::Deps;
pub use validate::Tried;

/// Who uses an MCP server.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) session: SessionId,
    pub(crate) organization: OrganizationId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) environment: EnvironmentId,
    pub(crate) vaults: Vec<VaultId>,
}

/// The connections that there are.
#[derive(Debug, Default)]
pub(crate) struct McpLinks {
    open: Mutex<HashMap<(SessionId, String), Link>>,
    /// What is being done with vaults and has no link yet that would end with them.
    begun: Mutex<HashMap<u64, (Vec<VaultId>, CancellationToken)>>,
    renewing: Mutex<HashMap<CredentialId, Weak<tokio::sync::Mutex<()>>>>,
}

/// A connection, and by what it was opened.
#[derive(Debug, Clone)]
struct Link {
    connection: Arc<Connection>,
    target: Target,
    vault: Option<VaultId>,
    /// Fires when what opened it is gone.
    ended: CancellationToken,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl McpLinks {
    /// Who renews a credential, or seals it anew, holds this.
    pub(crate) fn turn(&self, credential: &CredentialId) -> Arc<tokio::sync::Mutex<()>> {
        let mut renewing = held(&self.renewing);
        renewing.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = renewing.get(credential).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        renewing.insert(credential.clone(), Arc::downgrade(&turn));
        turn
    }

    /// A session fell asleep, or is gone.
    pub(crate) fn leave(&self, session: &SessionId) {
        held(&self.open).retain(|(of, _), _| of != session);
    }

    /// Something is about to be done with what these vaults have.
    fn begin(&self, vaults: &[VaultId]) -> Begun<'_> {
        let ended = CancellationToken::new();
        let mut begun = held(&self.begun);
        let number = (0..).find(|number| !begun.contains_key(number)).unwrap_or_default();
        begun.insert(number, (vaults.to_vec(), ended.clone()));
        Begun { links: self, number, ended }
    }

    /// A vault changed: what its credentials opened, or are about to open, ends.
    pub(crate) fn changed(&self, vault: &VaultId) {
        held(&self.begun).values().filter(|(vaults, _)| vaults.contains(vault)).for_each(|(_, ended)| ended.cancel());
        held(&self.open).retain(|_, link| {
            let stays = link.vault.as_ref() != Some(vault);
            if !stays {
                link.ended.cancel();
            }
            stays
        });
    }

    fn known(&self, user: &User, server: &McpServer, target: &Target) -> Option<Link> {
        let open = held(&self.open);
        open.get(&(user.session.clone(), server.name.clone()))
            .filter(|link| link.target == *target && link.connection.is_open() && !link.ended.is_cancelled())
            .cloned()
    }

    fn keep(&self, user: &User, server: &McpServer, link: Link) {
        held(&self.open).insert((user.session.clone(), server.name.clone()), link);
    }

    fn drop(&self, user: &User, server: &McpServer) {
        held(&self.open).remove(&(user.session.clone(), server.name.clone()));
    }
}

/// Held by who does something, before it reads what it may use.
struct Begun<'a> {
    links: &'a McpLinks,
    number: u64,
    /// Fires when one of the vaults changes.
    ended: CancellationToken,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        held(&self.links.begun).remove(&self.number);
    }
}

/// What a server is asked to do.
#[derive(Debug, Clone, Copy)]
enum Work<'a> {
    List,
    Call { id: &'a EventId, tool: &'a str, input: &'a Map<String, Value> },
}

/// What it did.
enum Done {
    Listed(Vec<McpTool>),
    Called(CallOutcome),
}

impl Work<'_> {
    async fn over(self, link: &Link) -> Result<Done, Failure> {
        match self {
            Self::List => tokio::select! {
                tools = link.connection.tools() => tools.map(Done::Listed),
                () = link.ended.cancelled() => Err(Failure::Connection("the credential was changed or taken away".into())),
            },
            Self::Call { id, tool, input } => tokio::select! {
                outcome = link.connection.call(id, tool, input.clone()) => outcome.map(Done::Called),
                () = link.ended.cancelled() => Err(Failure::Unknown("the credential was changed or taken away".into())),
            },
        }
    }
}

/// What a try with a credential came to.
enum Attempt {
    Done(Done),
    Failed(Failure),
    /// The server does not take the token of this credential, which can be renewed.
    Renewable(Box<Found>),
}

/// The tools of a server.
pub(crate) async fn list(deps: &Arc<Deps>, user: &User, server: &McpServer) -> Result<Vec<McpTool>, Failure> {
    match perform(deps, user, server, Work::List).await? {
        Done::Listed(tools) => Ok(tools),
        Done::Called(_) => Ok(Vec::new()),
    }
}

/// Has a server run a tool.
pub(crate) async fn call(deps: &Arc<Deps>, user: &User, server: &McpServer, tool: &str, call: &Call) -> CallOutcome {
    let not_run = |why: String| CallOutcome::text(format!("Not run: {why}"), true, CallEnd::NotRun);
    match perform(deps, user, server, Work::Call { id: &call.id, tool, input: &call.input }).await {
        Ok(Done::Called(outcome)) => outcome,
        Ok(Done::Listed(_)) => not_run("the MCP server was asked for its tools instead".into()),
        Err(Failure::Refused(why)) => CallOutcome::text(format!("The MCP server refused: {why}"), true, CallEnd::Finished),
        Err(Failure::Unknown(why)) => {
            let text = format!("Outcome unknown: {why}. The call may have run fully, in part, or not at all; check before repeating it.");
            CallOutcome::text(text, true, CallEnd::OutcomeUnknown)
        }
        Err(Failure::Connection(why)) => not_run(format!("the MCP server cannot be used: {why}")),
        Err(Failure::Authentication(why)) => not_run(format!("the MCP server does not let the agent in: {why}")),
    }
}

/// Does something over a connection; where the token does not hold any more, once again with a new one.
async fn perform(deps: &Arc<Deps>, user: &User, server: &McpServer, work: Work<'_>) -> Result<Done, Failure> {
    let begun = deps.mcp.begin(&user.vaults);
    let mut found = usable(deps, user, server).await?;
    if let Some(over) = found.as_ref().filter(|found| found.is_over(deps.ambient.now()) && found.can_renew()) {
        found = Some(renew(deps, over).await.map_err(|error| not_renewed(&error))?);
    }
    let found = match attempt(deps, user, server, found, work, &begun.ended).await {
        Attempt::Done(done) => return Ok(done),
        Attempt::Failed(failure) => return Err(failure),
        Attempt::Renewable(found) => found,
    };
    let renewed = renew(deps, &found).await.map_err(|error| not_renewed(&error))?;
    match attempt(deps, user, server, Some(renewed), work, &begun.ended).await {
        Attempt::Done(done) => Ok(done),
        Attempt::Failed(failure) => Err(failure),
        Attempt::Renewable(_) => Err(Failure::Authentication("it does not accept a token that was renewed just now".into())),
    }
}

async fn attempt(deps: &Deps, user: &User, server: &McpServer, found: Option<Found>, work: Work<'_>, ended: &CancellationToken) -> Attempt {
    let Some(socket) = deps.egress.calls() else {
        return Attempt::Failed(Failure::Connection("this server has no egress, which is the only way to MCP servers".into()));
    };
    let target = Target {
        socket: socket.to_owned(),
        url: server.url.clone(),
        session: Some(user.session.clone()),
        organization: user.organization.clone(),
        workspace: user.workspace.clone(),
        sealed: found.as_ref().and_then(Found::token).cloned(),
    };
    let link = match deps.mcp.known(user, server, &target) {
        Some(link) => Ok(link),
        None => {
            let opened = tokio::select! {
                opened = Connection::open(&target) => opened,
                () = ended.cancelled() => Err(Failure::Connection("the session's credentials were changed meanwhile; try again".into())),
            };
            opened.map(|connection| {
                let vault = found.as_ref().map(|found| found.vault.clone());
                let link = Link { connection: Arc::new(connection), target, vault, ended: ended.clone() };
                deps.mcp.keep(user, server, link.clone());
                link
            })
        }
    };
    let done = match link {
        Ok(link) => work.over(&link).await,
        Err(failure) => Err(failure),
    };
    match (done, found) {
        (Ok(done), _) => Attempt::Done(done),
        (Err(Failure::Authentication(_)), Some(found)) if found.can_renew() => {
            deps.mcp.drop(user, server);
            Attempt::Renewable(Box::new(found))
        }
        (Err(Failure::Authentication(why)), None) => {
            deps.mcp.drop(user, server);
            Attempt::Failed(Failure::Authentication(format!("{why}; put a credential for {} into a vault of the session", server.url)))
        }
        (Err(failure), _) => {
            if !matches!(failure, Failure::Refused(_)) {
                deps.mcp.drop(user, server);
            }
            Attempt::Failed(failure)
        }
    }
}

/// The credential to use at a server that the environment lets the agent reach.
async fn usable(deps: &Deps, user: &User, server: &McpServer) -> Result<Option<Found>, Failure> {
    let unread = |why: String| Failure::Connection(format!("what the session may use cannot be read: {why}"));
    let environment = environment::body(deps, &user.environment).await.map_err(unread)?;
    let environment = environment.ok_or_else(|| unread("its environment is gone".into()))?;
    let policy = Policy::of_environment(&environment.config, environment.egress.as_ref(), [server.url.as_str()]);
    may_be_reached(&policy, &server.url).map_err(Failure::Connection)?;
    find(deps, &user.workspace, &user.vaults, &server.url).await.map_err(unread)
}

/// Whether the environment lets the agent reach an address; if not, why.
fn may_be_reached(policy: &Policy, url: &str) -> Result<(), String> {
    let url = Url::parse(url).map_err(|_| "its address cannot be read".to_owned())?;
    let host = url.host_str().and_then(policy::normal).ok_or("its address has no host that can be reached")?;
    let judged = |port| policy.request(&host, port, "POST", url.path()).judged;
    let judged = match judged(url.port_or_known_default().unwrap_or(443)) {
        // Without a rule for its port it is a matter of the host.
        Judged::Decided(Decision { code: Code::PortNotAllowed, .. }) => judged(443),
        judged => judged,
    };
    let decision = match judged {
        Judged::Decided(decision) => decision,
        Judged::Ask { rule, .. } | Judged::Look { rule } => {
            return Err(format!("{rule} of the environment has a person asked, which MCP servers cannot wait for; allow it there"));
        }
    };
    if decision.is_allowed {
        return Ok(());
    }
    Err(format!(
        "the environment does not let the agent reach it ({}); set config.networking.allow_mcp_servers, or add its host to allowed_hosts",
        decision.rule
    ))
}

fn not_renewed(error: &NotRenewed) -> Failure {
    match error {
        NotRenewed::NoRefreshToken => Failure::Authentication("the token has ended and cannot be renewed; set the credential again".into()),
        NotRenewed::Failed(Some(answer)) => Failure::Authentication(format!(
            "the token has ended, and its token endpoint refused to renew it (HTTP {}); set the credential again",
            answer.status_code
        )),
        NotRenewed::Failed(None) => Failure::Authentication("the token has ended, and its token endpoint cannot be reached".into()),
        NotRenewed::Unavailable(why) => Failure::Connection(format!("the token has ended and could not be renewed: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::resources::environment::Config;
    use serde_json::json;

    use super::*;

    #[test]
    fn environments_and_their_rules_say_which_servers_may_be_used() {
        let config: Config = serde_json::from_value(
            json!({"type": "cloud", "packages": {"apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []}, "networking":
            {"type": "limited", "allowed_hosts": ["a.com"], "allow_mcp_servers": false, "allow_package_managers": false}}),
        )
        .unwrap();
        let rules = json!({"rules": [
            {"host": "b.com", "action": "allow"},
            {"host": "c.com", "action": "ask"},
            {"host": "a.com", "path": "/closed/**", "action": "deny"}
        ]});
        let policy = Policy::of_environment(&config, Some(&serde_json::from_value(rules).unwrap()), []);
        for (url, is_reached) in [
            ("https://a.com/mcp", true),
            ("https://a.com:8443/mcp", true),
            ("https://a.com/closed/mcp", false),
            ("https://a.com:8443/closed/mcp", false),
            ("https://b.com/mcp", true),
            ("https://c.com/mcp", false),
            ("https://d.com/mcp", false),
            ("no address", false),
        ] {
            assert_eq!(may_be_reached(&policy, url).is_ok(), is_reached, "{url}");
        }
    }
}
