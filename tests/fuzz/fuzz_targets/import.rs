//! Any bytes as a file of any kind, from detection to the last point: the first byte chooses the name.
#![no_main]

use importers::{ImportedRun, Limits, Options, Rejection, RunFacts, Sink, SinkError};
use libfuzzer_sys::fuzz_target;
use model::{Context, MetricName, PointColumns, RunId};

const NAMES: [&str; 24] = [
    "events.out.tfevents.1",
    "run-a.wandb",
    "store.db",
    "journal.log",
    "R-1_part_0.parquet",
    "version_0/metrics.csv",
    "trainer_state.json",
    "rows.csv",
    "rows.jsonl",
    "runs.json",
    "7/0123456789abcdef0123456789abcdef/meta.yaml",
    "hparams.yaml",
    "archive.tar",
    "archive.zip",
    "table.arrow",
    "t_p_a_0.runhistory.parquet",
    "runhistory.json",
    "a.monitor.csv",
    "golden_values_a.json",
    "m_step10.json",
    "evaluation_m_heavy.json",
    "algorithm_runs.arff",
    "result_0.txt",
    "runlake-export.json",
];

/// Checks what it is given and drops it.
#[derive(Default)]
struct Checking {
    run: Option<RunId>,
}

impl Sink for Checking {
    fn run(&mut self, run: ImportedRun) -> Result<(), SinkError> {
        self.run = Some(run.id);
        Ok(())
    }
    fn points(
        &mut self,
        _: RunId,
        metric: &MetricName,
        _: Option<&Context>,
        points: PointColumns,
    ) -> Result<(), SinkError> {
        assert!(self.run.is_some());
        points.check(metric).map_err(SinkError::new)
    }
    fn facts(&mut self, _: RunId, _: RunFacts) -> Result<(), SinkError> {
        assert!(self.run.is_some());
        Ok(())
    }
    fn reject(&mut self, rejection: Rejection) -> Result<(), SinkError> {
        assert!(!rejection.code.is_empty());
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, content)) = bytes.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let folder = tempfile::tempdir().expect("a folder to write to");
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().expect("a folder above")).expect("the folder");
    std::fs::write(&path, content).expect("the file");
    let limits = Limits {
        expanded_bytes: 1 << 24,
        record_bytes: 1 << 20,
        line_bytes: 1 << 16,
        document_bytes: 1 << 20,
        ..Limits::default()
    };
    let Ok(found) = importers::detect(folder.path(), &limits) else { return };
    let Ok(plan) = importers::plan(&found.sources, &Options { limits, ..Options::default() }) else { return };
    importers::import(&plan, &mut Checking::default()).expect("only the sink can end an import");
});
