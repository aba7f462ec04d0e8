//! What can be wrong with what a caller asked for. Knows nothing of HTTP: the server chooses the
//! status in one place.

/// What kind of refusal this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request itself is wrong, or not possible in the present state.
    Invalid,
    /// There is no such thing, or not for this caller.
    NotFound,
    /// Somebody else was faster, or the thing exists already; repeating cannot help.
    Conflict,
    /// The caller may not do this.
    Forbidden,
    /// Not now: a limit or a lack that passes.
    Unavailable,
}

/// A refused request, with the reason and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// For the caller.
    pub message: String,
    /// A stable name of the reason, where the protocol has one.
    pub code: Option<&'static str>,
}

impl Refusal {
    /// The request is wrong, or not possible in the present state.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Invalid, message: message.into(), code: None }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::NotFound, message: message.into(), code: None }
    }

    /// Somebody else was faster.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Conflict, message: message.into(), code: None }
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Unavailable, message: message.into(), code: None }
    }

    /// The same, with a stable name of the reason.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}

/// Refuses text longer than `limit` characters.
pub fn check_chars(what: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.len() > limit && text.chars().count() > limit {
        return Err(Refusal::invalid(format!("{what}: at most {limit} characters are allowed")));
    }
    Ok(())
}

/// Refuses more than `limit` items.
pub fn check_count(what: &str, count: usize, limit: usize) -> Result<(), Refusal> {
    if count > limit {
        return Err(Refusal::invalid(format!("{what}: at most {limit} entries are allowed, got {count}")));
    }
    Ok(())
}
