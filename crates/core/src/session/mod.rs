//! The session engine, pure: records, the state they fold to, the step that turns an input into
//! records, and what the records show to clients and models.
//!
//! ```text
//! step(&State, Input, Now) -> Step { records, effects, .. }      decides
//! State::apply(&mut self, &Record)                               folds; the only way a state changes
//! project(&Record, ..) -> Vec<Event>                             what clients see
//! Context::push(&mut self, &Record)                              what the model sees
//! outstanding(&State) -> Vec<Effect>                             what must be under way in this state
//! ```

pub mod calls;
pub mod context;
pub mod effect;
mod estimate;
pub mod fault;
pub mod mcp;
pub mod plan;
pub mod project;
pub mod record;
pub mod state;
pub mod step;
