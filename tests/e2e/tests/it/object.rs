//! Lakes on S3 through the whole program: kills during ingest, and a server that slept through the end of its lease.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use e2e::{LakePlace, Moto, Server, run, sql_texts};
use model::{ExperimentName, ExperimentUpdate, ProjectName};
use rustix::process::Signal;

use crate::kill::{add_note, connect, environment, kill_again_and_again, note};

/// Kills on S3; more of them with `RUNLAKE_KILLS`.
const KILLS: u64 = 4;

/// A lake on S3 with the state folder of one machine.
struct S3Lake {
    moto: Arc<Moto>,
    folder: PathBuf,
}

impl LakePlace for S3Lake {
    fn prepare(&self, command: &mut Command) {
        command
            .args(["--lake", "s3://bucket/team/lake", "--state"])
            .arg(self.folder.join("state"))
            .envs(self.moto.environment());
    }

    fn log(&self) -> PathBuf {
        self.folder.join("serve.log")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_on_s3_once_after_kills() {
    let Some(moto) = Moto::start() else { return };
    let seed = environment("RUNLAKE_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    println!("RUNLAKE_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let lake = S3Lake { moto: Arc::new(moto), folder: folder.path().to_owned() };
    kill_again_and_again(&lake, environment("RUNLAKE_KILLS").unwrap_or(KILLS), seed).await;
}

fn notes(lake: &S3Lake) -> Vec<String> {
    sql_texts(lake, "SELECT text FROM notes ORDER BY text").into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_slept_through_its_lease_commits_nothing_and_exits_with_4() {
    let Some(moto) = Moto::start() else { return };
    let moto = Arc::new(moto);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [sleeper, other] =
        [0, 1].map(|n| S3Lake { moto: Arc::clone(&moto), folder: folders[n].path().to_owned() });
    let zombie = Server::start(&sleeper);
    let experiment = ExperimentName::new("kill").unwrap();
    let update = ExperimentUpdate::named(ProjectName::default(), experiment, 1_750_000_000_000_000);
    connect(&zombie.url()).await.unwrap().apply(model::Command::UpdateExperiment(update)).await.unwrap();
    assert!(add_note(&zombie.url(), "a: flushed").await);
    connect(&zombie.url()).await.unwrap().flush().await.unwrap();
    assert!(add_note(&zombie.url(), "b: acknowledged only").await);
    // While it lives, nobody else gets the lake, and is told who has it.
    let refused = run(&other, ["flush"]).expect(4);
    assert!(refused.stderr.contains("runlake serve on"), "{}", refused.stderr);

    zombie.signal(Signal::STOP);
    let start = Instant::now();
    let successor = Server::start(&other);
    assert!(start.elapsed() > Duration::from_secs(14), "it waits one lease: {:?}", start.elapsed());
    assert!(add_note(&successor.url(), "c").await);
    connect(&successor.url()).await.unwrap().flush().await.unwrap();
    let before = moto.objects("team/lake/tables/notes/_delta_log/");
    zombie.signal(Signal::CONT);
    let url = zombie.url();
    if let Ok(client) = connect(&url).await {
        assert!(client.flush().await.is_err(), "a zombie flushes nothing");
    }
    if let Ok(client) = connect(&url).await {
        assert!(client.apply(note("d")).await.is_err(), "a zombie acknowledges nothing");
    }
    let log = sleeper.log();
    let ended = zombie.wait(Duration::from_secs(30));
    assert_eq!(ended.code(), Some(4), "{}", std::fs::read_to_string(log).unwrap_or_default());
    assert_eq!(moto.objects("team/lake/tables/notes/_delta_log/"), before, "0 commits by a zombie");
    assert!(successor.stop(Duration::from_secs(20)).success());

    // The note that only the sleeper's log has is not forgotten, and not lost.
    assert_eq!(notes(&other), ["a: flushed", "c"]);
    let refused = run(&sleeper, ["flush"]).expect(4);
    assert!(refused.stderr.contains("--stale-log adopt"), "{}", refused.stderr);
    let adopted = run(&sleeper, ["flush", "--stale-log", "adopt"]).expect(0);
    assert!(adopted.stdout.contains("adopted from"), "{}", adopted.stdout);
    assert_eq!(notes(&other)[..2], ["a: flushed", "b: acknowledged only"]);
    run(&sleeper, ["verify"]).expect(0);
}
