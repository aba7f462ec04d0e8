//! The plain resources of the API: their requests, their stored form, their wire form. Each file
//! is one kind, from what a client sends to what it gets back.

pub mod agent;
pub mod budget;
pub mod confirmation;
pub mod credential;
pub mod egress;
pub mod environment;
pub mod hosts;
pub mod metadata;
pub mod network;
pub mod patch;
pub mod sandbox;
pub mod schema;
pub mod session;
pub mod tools;
pub mod validation;
pub mod vault;
pub mod web;
