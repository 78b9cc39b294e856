//! `runlake serve`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runlake::query::ServiceConfig;
use runlake::query::postgres::DATABASE;
use runlake::store::SyncPolicy;
use runlake::{Lake, LakeOptions, MemoryPlan};
use server::{Server, ServerConfig, signal};

use crate::access;
use crate::allocator;
use crate::arguments::Place;
use crate::exit::{self, UsageError};
use crate::progress::Bar;
use crate::size;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake serve\n  runlake serve --postgres off\n  runlake --lake /data/lake serve --listen 127.0.0.1:7171\n  runlake serve --memory 1GB"
)]
pub(crate) struct ServeArguments {
    /// Address and port for gRPC, Arrow Flight SQL and /healthz
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Address and port for clients of PostgreSQL (database runlake), or `off`
    #[arg(long, default_value = "127.0.0.1:5433", value_name = "ADDRESS:PORT", value_parser = postgres_address)]
    postgres: PostgresAddress,
    /// When a write is acknowledged: `group` when it is on disk, each sync serving all writes that wait for it; a time
    /// such as `200ms` when it is written, with a sync at least that often (a power cut may take the last ones)
    #[arg(long, default_value = "group", value_name = "WHEN", value_parser = sync_policy)]
    fsync: SyncPolicy,
    /// Memory that the server may use, such as 512MB or 2GB, at least 384MB; half of the machine's or the container's,
    /// at most 4GiB, when not given
    #[arg(long, env = "RUNLAKE_MEMORY", value_name = "SIZE", value_parser = size::bytes)]
    memory: Option<usize>,
    /// SQL statements that run at once; when not given, as many as the machine has threads. The memory may allow fewer
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    query_slots: Option<u16>,
    /// SQL statements that may wait for their turn, each for ten seconds at most
    #[arg(long, default_value_t = 32, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(0..=4096))]
    query_queue: u16,
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
    let memory = MemoryPlan::within(arguments.memory.unwrap_or_else(MemoryPlan::default_limit))?;
    let config = ServerConfig {
        listen: arguments.listen,
        postgres: arguments.postgres.0,
        insecure: arguments.insecure,
        ..ServerConfig::default()
    }
    .within(&memory);
    config.check()?;
    let bar = Bar::new("reading the log");
    let mut queries = ServiceConfig { waiting: arguments.query_queue.into(), ..ServiceConfig::shared() };
    if let Some(slots) = arguments.query_slots {
        queries.slots = slots.into();
    }
    let options = LakeOptions {
        queries: Some(queries),
        owner: Some(format!("runlake serve on http://{}", arguments.listen)),
        sync: arguments.fsync,
        progress: Some(bar.sink()),
        memory: Some(memory),
        give_back: Some(allocator::give_back),
        ..LakeOptions::default()
    };
    let lake = Lake::open_with(&access::location(place)?, options).await?;
    bar.finish();
    let server = Server::bind(config, Arc::new(lake.clone())).await?;
    let owner = format!("runlake serve on http://{}", server.local_addr());
    lake.store()?.describe_owner(&owner).map_err(runlake::Error::from)?;
    // Scripts wait for the first line; nothing else comes on standard output. Both at once: whoever reads only the first
    // may have closed the pipe when the second comes.
    let mut lines = format!("listening on http://{}\n", server.local_addr());
    if let Some(address) = server.postgres_addr() {
        lines.push_str(&format!("listening on postgres://{address}/{DATABASE}\n"));
    }
    print!("{lines}");
    std::io::stdout().flush()?;
    server.serve(signal::stop_requested()).await?;
    Ok(exit::DONE)
}

/// Where clients of PostgreSQL are awaited; nowhere for `None`.
#[derive(Debug, Clone, Copy)]
struct PostgresAddress(Option<SocketAddr>);

fn postgres_address(text: &str) -> Result<PostgresAddress, String> {
    match text {
        "off" => Ok(PostgresAddress(None)),
        _ => text
            .parse()
            .map(|address| PostgresAddress(Some(address)))
            .map_err(|_| "say an address with a port such as 127.0.0.1:5433, or `off`".to_owned()),
    }
}

fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
    if text == "group" {
        return Ok(SyncPolicy::EveryGroup);
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let millis = match (number.parse::<u64>(), unit) {
        (Ok(number), "ms") => number,
        (Ok(number), "s") => number.saturating_mul(1000),
        _ => return Err("say `group`, or a time such as 200ms or 1s".to_owned()),
    };
    if !(1..=60_000).contains(&millis) {
        return Err("between 1ms and 60s".to_owned());
    }
    Ok(SyncPolicy::Interval(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_for_postgresql_can_be_closed() {
        assert!(postgres_address("off").unwrap().0.is_none());
        assert_eq!(postgres_address("[::1]:1").unwrap().0.unwrap().port(), 1);
        assert!(postgres_address("5433").is_err());
    }

    #[test]
    fn a_time_needs_a_unit_and_a_limit() {
        assert_eq!(sync_policy("group"), Ok(SyncPolicy::EveryGroup));
        assert_eq!(sync_policy("200ms"), Ok(SyncPolicy::Interval(Duration::from_millis(200))));
        assert_eq!(sync_policy("2s"), Ok(SyncPolicy::Interval(Duration::from_secs(2))));
        for wrong in ["", "ms", "5", "0s", "61s", "1 s", "-1s", "99999999999999999999s"] {
            assert!(sync_policy(wrong).is_err(), "{wrong}");
        }
    }
}
