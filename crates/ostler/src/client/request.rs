//! Where a request goes: a path of segments, a query, and which thing it is about.

use reqwest::Url;

/// The kinds of things that commands name by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An agent.
    Agent,
    /// An environment.
    Environment,
    /// A session.
    Session,
}

impl Kind {
    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Environment => "environment",
            Self::Session => "session",
        }
    }

    /// The name of the list, in paths and commands.
    pub(crate) fn collection(self) -> &'static str {
        match self {
            Self::Agent => "agents",
            Self::Environment => "environments",
            Self::Session => "sessions",
        }
    }
}

/// One thing that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) id: String,
}

impl Object {
    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub(super) fn collection(&self) -> &'static str {
        self.kind.collection()
    }
}

/// A path below `/v1` and its query.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    about: Option<Object>,
}

impl Request {
    /// The list of a kind, or another path of one segment.
    pub(crate) fn to(collection: &str) -> Self {
        Self { segments: vec![collection.to_owned()], query: Vec::new(), about: None }
    }

    /// One thing.
    pub(crate) fn of(kind: Kind, id: &str) -> Self {
        Self::to(kind.collection()).then(id).about(kind, id)
    }

    /// A further segment.
    pub(crate) fn then(mut self, segment: &str) -> Self {
        self.segments.push(segment.to_owned());
        self
    }

    /// A parameter of the query; repeated ones are all sent.
    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Says what does not exist when the server answers 404.
    pub(crate) fn about(mut self, kind: Kind, id: &str) -> Self {
        self.about = Some(Object { kind, id: id.to_owned() });
        self
    }

    pub(super) fn object(&self) -> Option<&Object> {
        self.about.as_ref()
    }

    /// The whole address on a server, whose own path comes first.
    pub(super) fn url(&self, server: &Url) -> Url {
        let mut url = server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(&self.segments);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_id_or_a_cursor_changes_the_path() {
        let request = Request::of(Kind::Session, "a/b?c#d").then("events").query("types[]", "x&y=z").query("types[]", "é");
        let url = request.url(&"http://h:1/prefix/".parse().unwrap());
        assert_eq!(url.as_str(), "http://h:1/prefix/v1/sessions/a%2Fb%3Fc%23d/events?types%5B%5D=x%26y%3Dz&types%5B%5D=%C3%A9");
    }
}
