//! `web_fetch` and `web_search`. The server decides what may be asked, by the agent's settings; egress asks; what came of a page is
//! made into text inside the sandbox, and never here.

mod ask;
mod command;
mod engine;
mod fetch;
mod results;
mod search;
mod seen;
mod tools;

pub use engine::Engine;
pub(crate) use fetch::{Fetched, page};
pub(crate) use search::search;
pub(crate) use tools::specs;

use std::sync::Arc;

use ostler_core::ids::{SessionId, WorkspaceId};
use ostler_core::model::Fragment;
use ostler_core::resources::session::SessionAgent;

use crate::limits;
use crate::turns::Turns;

/// What the web tools of a node share.
#[derive(Debug)]
pub(crate) struct Web {
    /// Who is asked when something is searched.
    engine: Option<Engine>,
    /// Who may have a page in memory now.
    pages: Turns,
    /// Who may ask the search engine now.
    searches: Turns,
}

impl Web {
    pub(crate) fn new(engine: Option<Engine>) -> Self {
        Self { engine, pages: Turns::new(limits::WEB_PAGES), searches: Turns::new(limits::WEB_SEARCHES) }
    }
}

/// On whose behalf the web is asked.
#[derive(Debug)]
pub(crate) struct Behalf {
    pub(crate) session: SessionId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) agent: Arc<SessionAgent>,
    /// What the model was shown so far.
    pub(crate) messages: Arc<Vec<Fragment>>,
}
