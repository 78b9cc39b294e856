//! Compiles the `.proto` files without a protobuf compiler on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=runlake");
    let files = [
        "runlake/v1/points.proto",
        "runlake/v1/ingest.proto",
        "runlake/v1/query.proto",
        "runlake/v1/admin.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        // Chunks of Arrow are handed on without a copy.
        .bytes(".runlake.v1.SqlResponse.part.arrow_ipc")
        .bytes(".runlake.v1.SqlResponse.arrow_ipc")
        .compile_fds(descriptors)?;
    Ok(())
}
