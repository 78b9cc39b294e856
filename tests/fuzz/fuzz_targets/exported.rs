//! Any bytes as the tables of an export in text, which zero bytes part.
#![no_main]

use importers::exported::{ExportForm, ExportTable, ExportedFile, MANIFEST, Manifest, VERSION, WHAT};
use importers::{ImportedRun, Limits, Options, Rejection, RunFacts, Sink, SinkError};
use libfuzzer_sys::fuzz_target;
use model::{Context, MetricName, PointColumns, RunId};

struct Ignoring;

impl Sink for Ignoring {
    fn run(&mut self, _: ImportedRun) -> Result<(), SinkError> {
        Ok(())
    }
    fn points(
        &mut self,
        _: RunId,
        metric: &MetricName,
        _: Option<&Context>,
        points: PointColumns,
    ) -> Result<(), SinkError> {
        points.check(metric).map_err(SinkError::new)
    }
    fn facts(&mut self, _: RunId, _: RunFacts) -> Result<(), SinkError> {
        Ok(())
    }
    fn reject(&mut self, _: Rejection) -> Result<(), SinkError> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, content)) = bytes.split_first() else { return };
    let form = if first % 2 == 0 { ExportForm::Csv } else { ExportForm::Jsonl };
    let folder = tempfile::tempdir().expect("a folder to write to");
    let mut files = Vec::new();
    for (table, content) in ExportTable::ALL.into_iter().zip(content.split(|byte| *byte == 0)) {
        let file = table.as_str().to_owned();
        std::fs::write(folder.path().join(&file), content).expect("the file");
        files.push(ExportedFile { file, table, rows: 1, bytes: content.len() as u64 });
    }
    let manifest = Manifest {
        what: WHAT.to_owned(),
        version: VERSION,
        form,
        selection: String::new(),
        metrics: String::new(),
        runs: 1,
        series: 1,
        points: 1,
        files,
        losses: Vec::new(),
    };
    let manifest = serde_json::to_vec(&manifest).expect("a manifest is JSON");
    std::fs::write(folder.path().join(MANIFEST), manifest).expect("the manifest");
    let limits = Limits { line_bytes: 1 << 16, ..Limits::default() };
    let Ok(found) = importers::detect(folder.path(), &limits) else { return };
    let Ok(plan) = importers::plan(&found.sources, &Options { limits, ..Options::default() }) else { return };
    importers::import(&plan, &mut Ignoring).expect("only the sink can end an import");
});
