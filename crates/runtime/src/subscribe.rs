//! Following a session: what was committed, from the journal; previews of what is being said, from
//! memory. The cursor is the truth; the channel between only wakes and saves reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use ostler_core::events::wire::{Event, EventBody};
use ostler_core::ids::{EventId, SessionId};
use ostler_core::scope::Scope;
use ostler_store::{EventQuery, Store, StoredEvent};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::limits;

/// Where a follower starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With what happens from now on.
    Now,
    /// With the first event behind this position.
    After(u64),
}

/// Of which events a follower wants previews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Previews {
    /// Of `agent.message`: its beginning and its text, piece by piece.
    pub message: bool,
    /// Of `agent.thinking`: its beginning.
    pub thinking: bool,
}

impl Previews {
    fn any(self) -> bool {
        self.message || self.thinking
    }
}

/// One thing a follower sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A committed event; `session.deleted` alone has no position.
    Event {
        /// Its public position.
        position: Option<u64>,
        /// Its type.
        kind: Arc<str>,
        /// The JSON object.
        body: Arc<str>,
    },
    /// A preview; never repeated, never stored.
    Preview {
        /// `event_start` or `event_delta`.
        kind: &'static str,
        /// The JSON object.
        body: Arc<str>,
    },
}

/// What kind of event a preview announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreviewKind {
    Message,
    Thinking,
}

impl PreviewKind {
    fn name(self) -> &'static str {
        match self {
            Self::Message => "agent.message",
            Self::Thinking => "agent.thinking",
        }
    }

    fn wanted(self, previews: Previews) -> bool {
        match self {
            Self::Message => previews.message,
            Self::Thinking => previews.thinking,
        }
    }
}

#[derive(Debug, Clone)]
enum Live {
    Event(Arc<StoredEvent>),
    Start { event: EventId, kind: PreviewKind, after: u64 },
    Delta { event: EventId, index: usize, text: Arc<str>, after: u64 },
    Deleted { body: Arc<str> },
}

#[derive(Debug, Clone)]
struct Open {
    event: EventId,
    kind: PreviewKind,
    /// The text so far of each of its content blocks.
    texts: Vec<String>,
    /// The last committed position when it began.
    after: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// What is being said right now, for those who join in the middle.
    open: Option<Open>,
    /// The position of the last event published here; 0 before the first.
    position: u64,
    /// There while somebody listens: its frames are allocated at once, and most sessions have no
    /// follower most of the time.
    live: Option<broadcast::Sender<Live>>,
    /// Followers that want previews; the others need not be woken by them.
    previewed: usize,
}

impl Inner {
    fn preview(&mut self, live: impl FnOnce() -> Live) {
        if self.previewed > 0 {
            self.tell(live);
        }
    }

    fn tell(&mut self, live: impl FnOnce() -> Live) {
        match &self.live {
            Some(channel) if channel.receiver_count() > 0 => {
                let _ = channel.send(live());
            }
            _ => self.live = None,
        }
    }
}

/// Where a session tells its followers.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
}

impl Hub {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of events that are committed.
    pub(crate) fn publish(&self, events: &[StoredEvent]) {
        let mut inner = self.inner();
        for event in events {
            if event.kind == "span.model_request_end" || inner.open.as_ref().is_some_and(|open| open.event == event.id) {
                inner.open = None;
            }
            inner.position = inner.position.max(event.position);
            inner.tell(|| Live::Event(Arc::new(event.clone())));
        }
    }

    /// The session was woken at this position.
    pub(crate) fn wake(&self, position: u64) {
        let mut inner = self.inner();
        inner.position = inner.position.max(position);
    }

    /// The model begins to say something.
    pub(crate) fn preview_start(&self, event: EventId, kind: PreviewKind) {
        let mut inner = self.inner();
        let after = inner.position;
        inner.open = Some(Open { event: event.clone(), kind, texts: Vec::new(), after });
        inner.preview(|| Live::Start { event, kind, after });
    }

    /// The model says more, in the content block with this index.
    pub(crate) fn preview_delta(&self, event: EventId, index: usize, text: &str) {
        let mut inner = self.inner();
        let after = inner.position;
        if let Some(open) = inner.open.as_mut().filter(|open| open.event == event) {
            open.texts.resize(open.texts.len().max(index + 1), String::new());
            open.texts[index].push_str(text);
            inner.preview(|| Live::Delta { event, index, text: text.into(), after });
        }
    }

    /// The request is over, however it ended.
    pub(crate) fn preview_end(&self) {
        self.inner().open = None;
    }

    /// The session is gone.
    pub(crate) fn deleted(&self, event: EventId, at: ostler_core::time::Timestamp) {
        let event = Event { id: event, processed_at: Some(at), body: EventBody::SessionDeleted {} };
        let body = serde_json::to_string(&event).unwrap_or_default();
        self.inner().tell(|| Live::Deleted { body: body.into() });
    }

    /// A new follower's end of the channel, and what is being said at this moment.
    fn subscribe(&self, previews: Previews) -> (broadcast::Receiver<Live>, Option<Open>) {
        let mut inner = self.inner();
        inner.previewed += usize::from(previews.any());
        let live = inner.live.get_or_insert_with(|| broadcast::Sender::new(limits::LIVE_FRAMES)).subscribe();
        (live, inner.open.clone())
    }
}

/// One client that follows one session. Sees every event behind its start exactly once, in order.
#[derive(Debug)]
pub struct Follower {
    store: Arc<dyn Store>,
    scope: Scope,
    session: SessionId,
    /// Kept so that the session finds its followers.
    hub: Arc<Hub>,
    live: broadcast::Receiver<Live>,
    previews: Previews,
    /// The position of the last event that was handed out.
    cursor: u64,
    behind: bool,
    pending: VecDeque<Frame>,
    /// The message whose previews this follower gets, once it got the beginning.
    previewing: Option<EventId>,
    joined: Option<Open>,
    over: bool,
}

impl Follower {
    pub(crate) fn new(store: Arc<dyn Store>, scope: Scope, session: SessionId, hub: Arc<Hub>, previews: Previews) -> Self {
        let (live, joined) = hub.subscribe(previews);
        Self {
            store,
            scope,
            session,
            hub,
            live,
            previews,
            cursor: 0,
            behind: true,
            pending: VecDeque::new(),
            previewing: None,
            joined,
            over: false,
        }
    }

    /// Where to start; what is being said then is previewed after what was missed.
    pub(crate) fn start(&mut self, position: u64, behind: bool) {
        self.cursor = position;
        self.behind = behind;
        if !behind {
            // What was committed since it began may be its end.
            self.joined = self.joined.take().filter(|open| open.after >= position);
            self.join();
        }
    }

    /// The next frame. `None` when the session is deleted or can no longer be read. Not to be
    /// called again after that. Cancel safe.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                if let Frame::Event { position: Some(position), .. } = &frame {
                    self.cursor = *position;
                }
                return Some(frame);
            }
            if self.over {
                return None;
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            match self.live.recv().await {
                Ok(live) => self.take(live),
                Err(RecvError::Lagged(_)) => {
                    self.behind = true;
                    self.previewing = None;
                    self.joined = None;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn catch_up(&mut self) -> Option<()> {
        let query = EventQuery::after(self.cursor, limits::CATCH_UP_EVENTS);
        match self.store.events(&self.scope, &self.session, &query).await {
            Ok(Some(events)) => {
                self.behind = events.len() == limits::CATCH_UP_EVENTS;
                self.pending.extend(events.iter().map(frame));
                // A preview that we joined belongs behind what was missed, unless that holds its end.
                let ended = |open: &Open| {
                    events
                        .iter()
                        .any(|event| event.position > open.after && (event.id == open.event || event.kind == "span.model_request_end"))
                };
                self.joined = self.joined.take().filter(|open| !ended(open));
                if !self.behind {
                    self.join();
                }
                Some(())
            }
            // Deleted while we read: the channel says so.
            Ok(None) => {
                self.behind = false;
                if self.live.is_empty() { None } else { Some(()) }
            }
            Err(error) => {
                tracing::warn!(session = %self.session, %error, "a follower ends because its session cannot be read");
                None
            }
        }
    }

    /// Joins in the middle of a message: one beginning, and one delta with the text so far of each
    /// of its blocks.
    fn join(&mut self) {
        let Some(open) = self.joined.take() else { return };
        if !open.kind.wanted(self.previews) {
            return;
        }
        self.pending.push_back(start_frame(&open.event, open.kind));
        for (index, text) in open.texts.iter().enumerate() {
            self.pending.push_back(delta_frame(&open.event, index, text));
        }
        self.previewing = Some(open.event);
    }

    fn take(&mut self, live: Live) {
        match live {
            Live::Event(event) => {
                if event.position == self.cursor + 1 {
                    self.pending.push_back(frame(&event));
                    if self.previewing.as_ref() == Some(&event.id) {
                        self.previewing = None;
                    }
                } else if event.position > self.cursor {
                    self.behind = true;
                }
            }
            // A preview from before the cursor belongs to what was already handed out whole.
            Live::Start { event, kind, after } => {
                if after >= self.cursor && kind.wanted(self.previews) && self.previewing.as_ref() != Some(&event) {
                    self.pending.push_back(start_frame(&event, kind));
                    self.previewing = Some(event);
                }
            }
            Live::Delta { event, index, text, after } => {
                if after >= self.cursor && self.previewing.as_ref() == Some(&event) {
                    self.pending.push_back(delta_frame(&event, index, &text));
                }
            }
            Live::Deleted { body } => {
                self.pending.push_back(Frame::Event { position: None, kind: "session.deleted".into(), body });
                self.over = true;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.inner().previewed -= usize::from(self.previews.any());
    }
}

fn frame(event: &StoredEvent) -> Frame {
    Frame::Event { position: Some(event.position), kind: event.kind.as_str().into(), body: Arc::clone(&event.body) }
}

fn start_frame(event: &EventId, kind: PreviewKind) -> Frame {
    let body = json!({"type": "event_start", "event": {"type": kind.name(), "id": event}});
    Frame::Preview { kind: "event_start", body: body.to_string().into() }
}

fn delta_frame(event: &EventId, index: usize, text: &str) -> Frame {
    let delta = json!({"type": "content_delta", "index": index, "content": {"type": "text", "text": text}});
    let body = json!({"type": "event_delta", "event_id": event, "delta": delta});
    Frame::Preview { kind: "event_delta", body: body.to_string().into() }
}
