//! Tables: what each input comes to in each phase.
