//! Real sandboxes, and the messages that cross between releases.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bombs;
mod calls;
mod confinement;
mod doors;
mod endings;
mod goldens;
mod home;
mod images;
mod lives;
mod oci;
mod pages;
mod probes;
mod shell;
mod spares;
mod tools;
mod transfers;
mod user;
