//! `runlake show`.

use clap::Args;

use crate::access::Source;
use crate::arguments::Place;
use crate::output;
use crate::runs::quoted;
use crate::{exit, exit::UsageError};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake show 0190a5d96e07f2c8b1a6e0f5d3c2b1a0\n  runlake show baseline-seed-3"
)]
pub(crate) struct ShowArguments {
    /// A run id, the beginning of one, or a name
    run: String,
}

pub(crate) async fn run(place: &Place, arguments: ShowArguments) -> anyhow::Result<u8> {
    let source = Source::open(place).await?;
    let text = quoted(&arguments.run, '\'');
    let found = source
        .rows(&format!(
            "SELECT run_id, name, experiment FROM runs WHERE run_id = {text} OR name = {text} \
             OR (length({text}) >= 4 AND starts_with(run_id, {text})) ORDER BY run_id LIMIT 11"
        ))
        .await?;
    let count: usize = found.iter().map(|batch| batch.num_rows()).sum();
    if count == 0 {
        eprintln!("runlake: no run has the id or the name {:?}; `runlake runs` lists them", arguments.run);
        return Ok(exit::NOTHING);
    }
    if count > 1 {
        let schema = found[0].schema();
        let table = output::table(&schema, &found, false)?;
        return Err(
            UsageError(format!("{:?} fits several runs; give one id:\n{table}", arguments.run)).into()
        );
    }
    let batch = found.iter().find(|batch| batch.num_rows() > 0).ok_or(UsageError(String::new()))?;
    let id = arrow::util::display::array_value_to_string(batch.column(0), 0)?;
    let condition = format!("run_id = {}", quoted(&id, '\''));
    for (title, sql) in [
        (
            "Run",
            format!(
                "SELECT run_id, name, project, experiment, status, user, start_time, end_time, duration, parent_run_id, \
                 source, source_run_id, git_commit, seed, config_hash FROM runs WHERE {condition}"
            ),
        ),
        ("Params", format!("SELECT key, text FROM params WHERE {condition} ORDER BY key")),
        ("Tags", format!("SELECT key, text FROM tags WHERE {condition} ORDER BY key")),
        (
            "Metrics",
            format!(
                "SELECT metric, context, count, last_step, last, min, argmin_step, max, argmax_step, nan_count \
                 FROM series WHERE {condition} ORDER BY metric, context"
            ),
        ),
        ("Notes", format!("SELECT time, author, text FROM notes WHERE {condition} ORDER BY time")),
    ] {
        let batches = source.rows(&sql).await?;
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            continue;
        }
        println!("{title}");
        if title == "Run" {
            print_upright(&batches)?;
        } else {
            println!("{}", output::table(&batches[0].schema(), &batches, false)?);
        }
    }
    Ok(exit::DONE)
}

/// One row as a list of its columns, without those that are NULL.
fn print_upright(batches: &[arrow::array::RecordBatch]) -> anyhow::Result<()> {
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let text = arrow::util::display::array_value_to_string(column, 0)?;
            if !text.is_empty() {
                println!("  {:<14} {text}", field.name());
            }
        }
    }
    Ok(())
}
