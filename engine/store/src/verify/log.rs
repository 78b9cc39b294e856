//! The log: every file, every record.

use crate::disk::Disk;
use crate::error::Result;
use crate::lake_file::LakeFile;
use crate::layout::Layout;
use crate::wal;

use super::{Finding, Meter, SALVAGE, VerifyReport};

pub(super) fn check(
    disk: &dyn Disk,
    layout: &Layout,
    lake_file: &LakeFile,
    report: &mut VerifyReport,
    meter: &mut Meter,
) -> Result<()> {
    let lake_id = lake_file.lake_id_bytes()?;
    let folder = layout.wal();
    let place = |path: &std::path::Path| {
        path.strip_prefix(layout.root()).unwrap_or(path).to_string_lossy().into_owned()
    };
    meter.expect(log_bytes(disk, &folder));
    let survey = wal::survey(&folder, lake_id, disk, &mut |_, _| {}, &mut |bytes| meter.done(bytes, "wal"));
    report.log_records += survey.records;
    for found in survey.findings {
        let mut finding = Finding::new("log.damaged", place(&found.file), &found.what).advice(SALVAGE);
        if found.bytes > 0 {
            finding = finding.part(format!("bytes {} to {}", found.offset, found.offset + found.bytes));
        } else if found.offset > 0 {
            finding = finding.part(format!("offset {}", found.offset));
        }
        if let Some(lost) = found.lost {
            finding.what.push_str(&format!(" (log records {} to {} are lost)", lost.start(), lost.end()));
        }
        report.add(finding);
    }
    if let Some((file, offset)) = survey.torn {
        let what = "a write that was never acknowledged; the next open for writing cuts it off";
        report.notes.push(
            Finding::new("log.torn", place(&file), what)
                .part(format!("offset {offset}"))
                .advice("nothing is to be done"),
        );
    }
    Ok(())
}

fn log_bytes(disk: &dyn Disk, folder: &std::path::Path) -> u64 {
    let names = disk.list(folder).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| disk.open(&folder.join(name), crate::disk::Access::Read).ok()?.length().ok())
        .sum()
}
