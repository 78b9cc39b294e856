//! `runlake flush`.

use crate::arguments::Place;
use crate::{access, exit};

pub(crate) async fn run(place: &Place) -> anyhow::Result<u8> {
    if let Some(url) = &place.url {
        let flushed = access::connect(url).await?.flush().await?;
        println!("{} points flushed, {} tables committed", flushed.points, flushed.tables);
        return Ok(exit::DONE);
    }
    let lake = access::write_existing(place, "runlake flush").await?;
    let outcome = lake.flush().await;
    lake.close().await;
    let report = outcome?;
    println!(
        "{} points flushed ({} bytes); committed: {}",
        report.points,
        report.point_bytes,
        if report.tables.is_empty() { "nothing new".to_owned() } else { report.tables.join(", ") }
    );
    Ok(exit::DONE)
}
