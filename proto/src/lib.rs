//! The wire: messages, services and clients of `runlake.v1`, generated from `runlake/v1/*.proto`.
//!
//! Only `server`, `cli` and `python` see these types; what they mean and how they may change is said in the `.proto`
//! files and in `docs/formats/wire.md`.

/// Version 1 of the wire.
#[allow(missing_docs, clippy::all, rustdoc::all)] // Generated; the comments of the .proto files are the documentation.
pub mod v1 {
    tonic::include_proto!("runlake.v1");
}
