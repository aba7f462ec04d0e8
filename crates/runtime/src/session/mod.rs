//! One session at work: its actor, what it loads, what it writes, what it performs.

pub(crate) mod actor;
pub(crate) mod batch;
pub(crate) mod deps;
pub(crate) mod effects;
pub(crate) mod load;
pub(crate) mod place;
pub(crate) mod remote;
pub(crate) mod request;
