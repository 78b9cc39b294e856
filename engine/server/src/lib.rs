//! One port for everything that speaks to a lake over the network: gRPC (`Ingest`, `Query`, `Admin`), Flight SQL and
//! health; and one for clients of PostgreSQL.
//!
//! A handler is: translate, one call, translate. All limits of requests (size, time, memory) are here, before the call;
//! what a call may do is said by [`LakeService`], and [`grpc::status`] alone turns its errors into codes.
//!
//! | Module | Invariant |
//! |---|---|
//! | [`server`] | own accept loop: connections are capped, running out of descriptors is survived, the stop ends in time |
//! | [`grpc`] | bytes of a request are counted against the budget before they are read |
//! | [`translate`] | nothing but checked values of `model` gets past it; the one place where the wire meets the model |
//! | `flight` | a ticket is ours, its caller's, and young, or it is refused |
//! | `postgres` | a message is bounded before it is read; one statement, its answer and nothing more is in memory |
//! | `statements` | what both run: a deadline, a caught panic, nothing kept for a reader that is gone |
//! | [`client`] | what is not answered is sent again with the same number, in order |

pub mod client;
pub mod config;
pub mod error;
mod flight;
pub mod grpc;
pub mod health;
pub mod lake;
pub mod metrics;
mod postgres;
pub mod server;
pub mod service;
pub mod signal;
mod statements;
pub mod translate;

pub use config::ServerConfig;
pub use error::{ServiceError, StartError};
pub use server::Server;
pub use service::LakeService;
