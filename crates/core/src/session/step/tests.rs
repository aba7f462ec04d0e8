//! Tables: what each input comes to in each phase, told as short stories.

mod budgets;
mod calls;
mod confirmations;
mod interrupts;
mod lifecycle;
mod mcp;
mod recovery;
mod story;
mod targets;
mod turns;
