//! `runlake verify`.

use crate::arguments::Place;
use crate::{access, exit};

pub(crate) async fn run(place: &Place) -> anyhow::Result<u8> {
    if let Some(url) = &place.url {
        let verified = access::connect(url).await?.verify().await?;
        println!("{} files ({} bytes), {} log records", verified.files, verified.bytes, verified.log_records);
        return Ok(conclude(
            verified.problems.iter().map(|problem| (problem.place.as_str(), problem.message.as_str())),
        ));
    }
    let location = access::location(place)?;
    let report = runlake::store::verify(location).await.map_err(runlake::Error::from)?;
    println!(
        "{} runs, {} points, {} files ({} bytes), {} log records",
        report.runs, report.points, report.files, report.bytes, report.log_records
    );
    Ok(conclude(report.findings.iter().map(|finding| (finding.place.as_str(), finding.what.as_str()))))
}

fn conclude<'a>(findings: impl Iterator<Item = (&'a str, &'a str)>) -> u8 {
    let mut count = 0;
    for (place, what) in findings {
        count += 1;
        println!("DAMAGED  {place}: {what}");
    }
    if count == 0 {
        println!("sound");
        return exit::DONE;
    }
    println!("{count} findings; what is not named here is sound. Restore the named files from a backup.");
    exit::INTERNAL
}
