//! `runlake demo`: real runs into a fresh lake, and the questions that a team would ask.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use model::MetricName;
use runlake::analysis::{Direction, GatePolicy, MetricPolicy, Mode, Verdict};
use runlake::{GateOrigin, GateQuery, ImportOptions, Lake, LakeOptions, Location, Selector};

use crate::{exit, import, output};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  runlake demo --folder /tmp/runlake-demo")]
pub(crate) struct DemoArguments {
    /// Where the logs and the lake of the demo go
    #[arg(long, default_value = "./runlake-demo")]
    folder: PathBuf,
}

/// A gate of the demo and what the corpus is known to answer.
struct DemoGate {
    question: &'static str,
    candidate: &'static str,
    mode: Mode,
    expected: Verdict,
}

const GATES: [DemoGate; 3] = [
    DemoGate {
        question: "Is training with shifted images better?",
        candidate: "tag:arm=shift",
        mode: Mode::Better,
        expected: Verdict::Pass,
    },
    DemoGate {
        question: "Is a ten times higher learning rate better?",
        candidate: "tag:arm=high-lr",
        mode: Mode::Better,
        expected: Verdict::Fail,
    },
    DemoGate {
        question: "Is prefetching eight batches better? (it changes nothing that is computed)",
        candidate: "tag:arm=prefetch-8",
        mode: Mode::Better,
        expected: Verdict::Inconclusive,
    },
];

/// The SQL of the tour, each with its question.
const QUESTIONS: [(&str, &str); 4] = [
    (
        "What is in the lake?",
        "SELECT experiment, count(*) AS runs, count(*) FILTER (WHERE status = 'FINISHED') AS finished,\n       \
         count(*) FILTER (WHERE status = 'FAILED') AS failed\nFROM runs GROUP BY experiment ORDER BY runs DESC, experiment LIMIT 12",
    ),
    (
        "Which runs are the best?",
        "SELECT name, experiment, params.hidden AS hidden, params.lr AS lr, round(metrics['test/acc'], 4) AS test_acc\n\
         FROM runs WHERE isfinite(metrics['test/acc']) ORDER BY metrics['test/acc'] DESC, run_id LIMIT 5",
    ),
    (
        "How sure are we of each arm? (95 % interval of the mean, and BCa bootstrap)",
        "SELECT arm, n, round(t.estimate, 4) AS mean, round(t.low, 4) AS low, round(t.high, 4) AS high,\n       \
         round(b.low, 4) AS bca_low, round(b.high, 4) AS bca_high\n\
         FROM (SELECT tags.arm AS arm, count(*) AS n, mean_ci(metrics['test/acc']) AS t,\n             \
         bootstrap_ci(metrics['test/acc']) AS b\n      \
         FROM runs WHERE isfinite(metrics['test/acc']) AND tags.arm IS NOT NULL GROUP BY tags.arm)\n\
         WHERE n >= 3 ORDER BY mean DESC",
    ),
    (
        "What does the validation loss of a baseline run look like, smoothed?",
        "SELECT step, round(value, 4) AS val_loss,\n       \
         round(ema(value, 0.6) OVER (ORDER BY step), 4) AS smoothed\n\
         FROM points WHERE metric = 'val/loss'\n  \
         AND run_id = (SELECT min(run_id) FROM runs WHERE tags.arm = 'baseline')\nORDER BY step LIMIT 8",
    ),
];

pub(crate) async fn run(arguments: DemoArguments) -> anyhow::Result<u8> {
    let start = Instant::now();
    let logs = arguments.folder.join("logs");
    let lake_folder = arguments.folder.join("lake");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make the folder {}", logs.display()))?;
    datasets::unpack_demo_corpus(&logs).context("cannot unpack the demo corpus")?;
    title("A corpus of real runs: small models on handwritten digits, logged through MLflow and TensorBoard");
    println!("logs  {}\nlake  {}\n", logs.display(), lake_folder.display());

    let options = LakeOptions { owner: Some("runlake demo".to_owned()), ..LakeOptions::default() };
    let lake = Lake::open_with(&Location::from(lake_folder.clone()), options).await?;
    let outcome = tour(&lake, &logs, &lake_folder).await;
    lake.close().await;
    let as_known = outcome?;
    println!("\nAll of this took {:.1} s.", start.elapsed().as_secs_f64());
    if !as_known {
        eprintln!("runlake: a verdict differs from the known truth of the corpus; please report this");
        return Ok(exit::INTERNAL);
    }
    Ok(exit::DONE)
}

async fn tour(lake: &Lake, logs: &Path, lake_folder: &Path) -> anyhow::Result<bool> {
    for tool in ["mlflow", "tensorboard"] {
        import::import(lake, &logs.join(tool), ImportOptions::default()).await?;
    }
    lake.flush().await?;
    for (question, sql) in QUESTIONS {
        title(question);
        sql.lines().for_each(|line| println!("  {line}"));
        let start = Instant::now();
        let batches = lake.sql(sql).await?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let Some(first) = batches.first() else { continue };
        println!("{}\n({milliseconds:.0} ms)", output::table(&first.schema(), &batches, false)?);
    }
    importance(lake).await?;
    let mut as_known = true;
    for gate in &GATES {
        as_known &= judge(lake, gate).await?;
    }
    what_next(lake_folder);
    Ok(as_known)
}

async fn importance(lake: &Lake) -> anyhow::Result<()> {
    title("Which hyperparameter matters? (200 runs of a sweep, one param at a time)");
    let sweep = Selector::parse("source = 'tensorboard' AND name LIKE 'sweep/%'")?;
    let metric = MetricName::new("test/loss").map_err(runlake::Error::from)?;
    let found =
        lake.compare_params(&sweep, &metric, Direction::Down, 0.95, &["seed", "setting", "arm"]).await?;
    println!("{}", found.to_text());
    Ok(())
}

async fn judge(lake: &Lake, gate: &DemoGate) -> anyhow::Result<bool> {
    title(gate.question);
    let mode = gate.mode.name().replace('_', "-");
    println!(
        "  runlake gate --candidate {} --baseline tag:arm=baseline --metric test/acc --direction up --mode {mode}\n",
        gate.candidate
    );
    let metric = MetricPolicy { mode: Some(gate.mode), ..MetricPolicy::new("test/acc", Direction::Up) };
    let policy = GatePolicy::new(vec![metric]);
    let query = GateQuery::new(policy, Some(gate.candidate), Some("tag:arm=baseline"))?;
    let outcome = lake.gate(&query).await?;
    lake.record_gate(&outcome, &GateOrigin::default()).await?;
    let report = outcome.single().context("one metric was asked about")?;
    println!("{}{}", report.to_text(), outcome.report.circumstances_text());
    Ok(outcome.report.verdict == gate.expected)
}

fn what_next(lake_folder: &Path) {
    title("What to try next");
    let lake = lake_folder.display();
    println!("  runlake --lake {lake} sql                        a prompt; try: SHOW TABLES;");
    println!("  runlake --lake {lake} runs --metric test/acc --sort test/acc --limit 10");
    println!("  runlake --lake {lake} decide augmentation ship --reason \"+0.06 accuracy on 12 + 12 seeds\"");
    println!(
        "  runlake --lake ./lake import YOUR_LOGS            TensorBoard, MLflow, Hugging Face, CSV, JSON, Parquet"
    );
    println!(
        "  runlake --lake ./lake serve                       gRPC ingest and SQL on http://127.0.0.1:7070"
    );
}

fn title(text: &str) {
    println!("\n── {text}\n");
}
