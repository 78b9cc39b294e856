//! Salvage: what is readable of a damaged log is kept, what is not is named and given up, and the lake opens again.
//!
//! Only on the explicit word of a user. Later records may need what is lost (points of a run whose creation is gone):
//! such runs and experiments are made anew under the experiment `salvaged`, so that nothing readable is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::schema::Table;
use model::{Command, ExperimentName, ExperimentUpdate, NewRun, ProjectName, RunId};

use crate::catalog::Catalog;
use crate::damage::Reading;
use crate::disk::Disk;
use crate::error::Result;
use crate::lake_file::LakeFile;
use crate::layout::Layout;
use crate::lock::WriterLock;
use crate::recover::{TableVersions, restore};
use crate::state::table_of;
use crate::wal::{self, Record, SalvagedFile};

/// The experiment of runs whose creation is lost.
pub(crate) const EXPERIMENT: &str = "salvaged";

/// What a salvage did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SalvageReport {
    /// Log files that were made anew.
    pub files: Vec<SalvagedFile>,
    /// Numbers of the log records that are lost.
    pub lost: Vec<RangeInclusive<u64>>,
    /// What had to be made up so that the rest can be kept, in words.
    pub left_out: Vec<String>,
}

/// Makes a log with damage readable. Nothing changes when it is readable already.
///
/// # Errors
/// Another process writes, a table is damaged besides (mend that first), or the disk refuses.
pub fn salvage<'a>(
    root: &'a Path,
    disk: Arc<dyn Disk>,
    owner: &'a str,
) -> BoxFuture<'a, Result<SalvageReport>> {
    async move {
    let layout = Layout::new(root);
    let Some(lake_file) = LakeFile::read(&*disk, &layout.lake_file())? else {
        return Err(crate::StoreError::NoLake { path: root.display().to_string() });
    };
    let lake_id = lake_file.lake_id_bytes()?;
    let _lock = WriterLock::acquire(&*disk, &layout.lock_file(), owner)?;
    let catalog = Catalog::open_on(root, Arc::clone(&disk))?;
    let mut tables = TableVersions::new();
    for table in Table::ALL {
        tables.insert(table, catalog.load(table).await?);
    }
    let held = |table: Table| tables.get(&table).map_or(0, |version| version.last_seq);
    let committed = Table::ALL.into_iter().map(held).max().unwrap_or_default();
    let log = wal::scan(layout.wal(), lake_id, Arc::clone(&disk));
    let state = restore(&catalog, &tables, log, &mut Reading::Strict).await?;
    let mut known: BTreeSet<RunId> = state.registry.runs().iter().map(|run| run.id()).collect();
    let mut experiments: BTreeSet<(ProjectName, ExperimentName)> =
        state.registry.experiments().map(|e| (e.project.clone(), e.name.clone())).collect();
    let mut missing_runs: BTreeSet<RunId> = BTreeSet::new();
    let mut missing_experiments: BTreeMap<(ProjectName, ExperimentName), ()> = BTreeMap::new();
    let plan =
        wal::plan_salvage(&*disk, &layout.wal(), &lake_id, committed, &mut |seq, record| match record {
            Record::Points { batch, .. } if seq > held(Table::Points) => {
                missing_runs
                    .extend(batch.series().iter().map(|part| part.run).filter(|run| !known.contains(run)));
            }
            Record::Commands { commands, .. } => {
                for command in commands.iter().filter(|command| seq > held(table_of(command))) {
                    match command {
                        Command::CreateRun(new) => {
                            known.insert(new.id);
                            experiments.insert((new.project.clone(), new.experiment.clone()));
                        }
                        Command::UpdateExperiment(update) => {
                            experiments.insert((update.project.clone(), update.name.clone()));
                        }
                        Command::Decide(decision) => {
                            let key = (decision.project.clone(), decision.experiment.clone());
                            if !experiments.contains(&key) {
                                missing_experiments.insert(key, ());
                            }
                        }
                        other => missing_runs.extend(other.adds_to().filter(|run| !known.contains(run))),
                    }
                    if let Command::AddNote(note) = command
                        && let Some(experiment) = &note.experiment
                    {
                        let key = (note.project.clone(), experiment.clone());
                        if !experiments.contains(&key) {
                            missing_experiments.insert(key, ());
                        }
                    }
                }
            }
            _ => {}
        })?;
    let mut report = SalvageReport { lost: plan.lost.clone(), ..SalvageReport::default() };
    let stand_in = stand_in(&missing_runs, &missing_experiments, lake_file.created)?;
    if let Some(Record::Commands { commands, .. }) = &stand_in {
        report.left_out.push(format!(
            "the creation of {} runs and {} experiments is lost; they are kept, such runs in project {}, experiment {EXPERIMENT}",
            missing_runs.len(),
            commands.len() - missing_runs.len(),
            ProjectName::default()
        ));
    }
    report.files = plan.carry_out(&*disk, &layout.wal(), &lake_id, stand_in)?;
    Ok(report)
    }
    .boxed()
}

/// The commands that make what later records need.
fn stand_in(
    runs: &BTreeSet<RunId>,
    experiments: &BTreeMap<(ProjectName, ExperimentName), ()>,
    time: i64,
) -> Result<Option<Record>> {
    let mut commands: Vec<Command> = experiments
        .keys()
        .map(|(project, name)| {
            Command::UpdateExperiment(ExperimentUpdate::named(project.clone(), name.clone(), time))
        })
        .collect();
    for run in runs {
        let experiment = ExperimentName::new(EXPERIMENT)?;
        let name = format!("salvaged {run}");
        commands.push(Command::CreateRun(NewRun::named(
            *run,
            ProjectName::default(),
            experiment,
            name,
            time,
        )));
    }
    Ok((!commands.is_empty()).then_some(Record::Commands { writer: None, commands }))
}
