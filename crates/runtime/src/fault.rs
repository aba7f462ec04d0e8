//! Fail points for crash tests: places at which a test build of the server kills itself, as if the
//! power went. Release builds have none.

/// A place to die at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A step is decided, nothing is written.
    BeforeCommit,
    /// A step is on disk, nobody knows.
    AfterCommit,
    /// A client's input is on disk, the answer is not sent.
    BeforeReply,
    /// A call is about to be given to the sandbox.
    BeforeDispatch,
    /// A call's result arrived and is not written.
    BeforeResult,
    /// A piece of the model's answer arrived.
    ModelChunk,
}

impl Point {
    fn name(self) -> &'static str {
        match self {
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
            Self::BeforeReply => "before_reply",
            Self::BeforeDispatch => "before_dispatch",
            Self::BeforeResult => "before_result",
            Self::ModelChunk => "model_chunk",
        }
    }
}

/// Dies if `OSTLER_FAULT` names this point and this is the n-th time: `OSTLER_FAULT=before_commit:3`.
#[cfg(debug_assertions)]
pub fn point(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("OSTLER_FAULT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((name, count)) = plan
        && name == point.name()
        && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        std::process::abort();
    }
}

/// Release builds have no fail points.
#[cfg(not(debug_assertions))]
pub fn point(point: Point) {
    let _ = point.name();
}
