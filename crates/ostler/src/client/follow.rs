//! Following a session over broken connections and restarts of the server, without gap and without
//! duplicate.
//!
//! A stream's frames carry positions, and a stream can be opened behind one. Events of a list carry
//! none; so as long as no frame has come, what was missed is read from the list, back to what is known.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::error::{is_final, is_missing};
use super::{Client, Events, Kind, Listing, Paging, Request, StreamEvent};
use crate::limits;

/// What is followed.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// The session's id.
    pub(crate) session: String,
    /// Whether messages come in pieces while they are made.
    pub(crate) previews: bool,
    /// The types of events that a listing at the beginning is made of; all when empty.
    pub(crate) kinds: &'static [&'static str],
}

/// Where following begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the first event of the session.
    Beginning,
    /// With as many of its last events.
    Last(usize),
}

/// What happens to one who follows.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The next event.
    Event(StreamEvent),
    /// The connection broke; calling again waits for the server.
    Lost,
    /// The server is back; what follows has no gap.
    Back,
    /// The session was deleted while the connection was broken.
    Gone,
}

/// One who follows a session.
pub(crate) struct Follower {
    client: Client,
    watch: Watch,
    /// `None` while the connection is broken.
    events: Option<Events>,
    /// The position of the last frame; "0" is before the first.
    last: Option<String>,
    /// Events that came from a list and may come from the stream again.
    known: HashSet<String>,
    /// Where the list stood at the beginning, of which nothing was shown.
    anchor: HashSet<String>,
    /// Missed events that come before those of the stream.
    missed: VecDeque<StreamEvent>,
    /// Since when there was no event, with the pause before the next try.
    trouble: Option<(Instant, Duration)>,
}

impl Follower {
    /// Begins to follow. Open when this returns; the events are those that `start` asks for and
    /// that are there already.
    pub(crate) async fn open(client: &Client, watch: Watch, start: Start) -> anyhow::Result<(Self, Vec<StreamEvent>)> {
        let mut follower = Self {
            client: client.clone(),
            watch,
            events: None,
            last: (start == Start::Beginning).then(|| "0".to_owned()),
            known: HashSet::new(),
            anchor: HashSet::new(),
            missed: VecDeque::new(),
            trouble: None,
        };
        // The stream comes before the list, so that nothing falls between them.
        follower.events = Some(client.stream(follower.request(), follower.last.as_deref()).await?);
        let Start::Last(count) = start else { return Ok((follower, Vec::new())) };
        let last = follower.watch.last_events(client, count.max(1)).await?;
        let ids = last.iter().filter_map(|event| event.event_id().map(str::to_owned)).collect();
        if last.is_empty() {
            follower.last = Some("0".to_owned());
        }
        if count == 0 {
            // It may have happened since the stream was opened, and come from there.
            follower.anchor = ids;
            return Ok((follower, Vec::new()));
        }
        follower.known = ids;
        Ok((follower, last))
    }

    /// The next thing that happens. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Followed> {
        loop {
            if let Some(event) = self.missed.pop_front() {
                return Ok(Followed::Event(event));
            }
            let Some(events) = &mut self.events else { return self.reconnect().await };
            let Some(Ok(event)) = events.next().await else {
                self.events = None;
                return Ok(Followed::Lost);
            };
            self.trouble = None;
            if event.id.is_some() {
                self.last.clone_from(&event.id);
            }
            if event.event_id().is_none_or(|id| !self.known.contains(id)) {
                return Ok(Followed::Event(event));
            }
        }
    }

    fn request(&self) -> Request {
        let request = Request::of(Kind::Session, &self.watch.session).then("events").then("stream");
        if !self.watch.previews {
            return request;
        }
        request.query("event_deltas[]", "agent.message").query("event_deltas[]", "agent.thinking")
    }

    /// The server went away, perhaps to come back: sessions outlive it.
    async fn reconnect(&mut self) -> anyhow::Result<Followed> {
        loop {
            let (since, pause) = *self.trouble.get_or_insert((Instant::now(), limits::RECONNECT_FIRST));
            tokio::time::sleep(pause).await;
            self.trouble = Some((since, (pause * 2).min(limits::RECONNECT_MOST)));
            match self.reopen().await {
                Ok(()) => return Ok(Followed::Back),
                Err(error) if is_missing(&error) => return Ok(Followed::Gone),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) if since.elapsed() > limits::RECONNECT_FOR => {
                    let words = format!("the server did not come back; the session goes on when it does: {}", self.watch.session);
                    return Err(error.context(words));
                }
                Err(_) => {}
            }
        }
    }

    async fn reopen(&mut self) -> anyhow::Result<()> {
        let client = self.client.refreshed();
        let events = client.stream(self.request(), self.last.as_deref()).await?;
        if self.last.is_none() {
            self.missed = self.unseen(&client).await?.into();
            self.known.extend(self.missed.iter().filter_map(|event| event.event_id().map(str::to_owned)));
        }
        (self.client, self.events) = (client, Some(events));
        Ok(())
    }

    /// What was listed since the newest known event, oldest first.
    async fn unseen(&self, client: &Client) -> anyhow::Result<Vec<StreamEvent>> {
        let mut list = Listing::new(client, newest_first(&self.watch.session), Paging::Cursor, usize::MAX);
        let mut unseen = Vec::new();
        'pages: while let Some(page) = list.page().await? {
            for text in page {
                let event = StreamEvent { id: None, data: serde_json::from_str(&text)?, text };
                if event.event_id().is_some_and(|id| self.known.contains(id) || self.anchor.contains(id)) {
                    break 'pages;
                }
                unseen.push(event);
            }
        }
        unseen.reverse();
        Ok(unseen)
    }
}

impl Watch {
    /// The last events of the session, oldest first.
    pub(crate) async fn last_events(&self, client: &Client, count: usize) -> anyhow::Result<Vec<StreamEvent>> {
        let request = self.kinds.iter().fold(newest_first(&self.session), |request, kind| request.query("types[]", *kind));
        let mut events = Listing::new(client, request, Paging::Cursor, count).events().await?;
        events.reverse();
        Ok(events)
    }
}

fn newest_first(session: &str) -> Request {
    Request::of(Kind::Session, session).then("events").query("order", "desc")
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("watch", &self.watch).field("last", &self.last).finish_non_exhaustive()
    }
}
