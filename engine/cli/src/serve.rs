//! `runlake serve`.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use server::{Server, ServerConfig, signal};

use crate::access;
use crate::arguments::Place;
use crate::exit::{self, UsageError};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake serve\n  runlake --lake /data/lake serve --listen 127.0.0.1:7171"
)]
pub(crate) struct ServeArguments {
    /// Address and port for gRPC and /healthz
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Listen beyond loopback although nobody has to say who they are
    #[arg(long)]
    insecure: bool,
}

pub(crate) async fn run(place: &Place, arguments: ServeArguments) -> anyhow::Result<u8> {
    if place.url.is_some() {
        return Err(UsageError(
            "`serve` opens a lake (--lake); leave out --url (and RUNLAKE_URL)".to_owned(),
        )
        .into());
    }
    let config =
        ServerConfig { listen: arguments.listen, insecure: arguments.insecure, ..ServerConfig::default() };
    config.check()?;
    let lake = access::write(place, &format!("runlake serve on http://{}", arguments.listen)).await?;
    let server = Server::bind(config, Arc::new(lake.clone())).await?;
    let owner = format!("runlake serve on http://{}", server.local_addr());
    lake.store()?.describe_owner(&owner).map_err(runlake::Error::from)?;
    // Scripts wait for this line; it is the only one on standard output.
    println!("listening on http://{}", server.local_addr());
    server.serve(signal::stop_requested()).await?;
    Ok(exit::DONE)
}
