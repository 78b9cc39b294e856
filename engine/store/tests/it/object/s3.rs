//! On a server that speaks S3: the same lake, two processes racing for it, and `kill -9` at any moment.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use ::store::{Location, Store, open_snapshot, verify};

use super::moto::{Moto, store};
use super::{append, check_lake, config, expected, location, points_of};
use crate::lake::create;

/// The variable that makes [`child`] work: the URL of the lake.
const CHILD: &str = "RUNLAKE_TEST_CHILD";
const STATE: &str = "RUNLAKE_TEST_STATE";
const FIRST_STEP: &str = "RUNLAKE_TEST_FIRST_STEP";
const URL: &str = "s3://bucket/team/l%C3%A4ke";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_on_s3_is_written_read_and_handed_over() {
    let Some(moto) = Moto::start() else { return };
    check_lake(&store(&moto, "bucket")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_or_server_that_is_not_there_is_named_in_time() {
    let Some(moto) = Moto::start() else { return };
    let state = tempfile::tempdir().unwrap();
    let missing = "s3://no-such-bucket/x".parse().unwrap();
    let missing = Location::in_store(missing, store(&moto, "no-such-bucket"))
        .unwrap()
        .with_state_folder(Some(state.path().to_owned()));
    for error in [
        open_snapshot(&missing).await.unwrap_err(),
        Store::open(config(&missing, "a test")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "lake.store", "{error}");
        assert!(error.to_string().contains("the bucket does not exist"), "{error}");
    }
    let gone = location(&store(&moto, "bucket"), state.path());
    drop(moto);
    let start = Instant::now();
    let error = open_snapshot(&gone).await.unwrap_err();
    assert_eq!(error.code(), "lake.store");
    assert!(error.to_string().contains("AWS_ENDPOINT_URL"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(200), "{:?}", start.elapsed());
}

/// Not a test of its own: the writer that the tests below start and kill. It appends and flushes until it is killed,
/// and tells what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let state = std::env::var_os(STATE).unwrap().into();
    let location = Location::parse(&url).unwrap().with_state_folder(Some(state));
    let lake = match Store::open(config(&location, "a child")).await {
        Ok(lake) => lake,
        Err(error) => {
            println!("\nrefused {}: {error}", error.code());
            return;
        }
    };
    println!("\nopen");
    if lake.snapshot().registry().runs().is_empty() {
        lake.apply(vec![create(1)], None).await.unwrap();
    }
    let flushing = lake.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(flushing.flush().await);
        }
    });
    let mut step: i64 = std::env::var(FIRST_STEP).unwrap().parse().unwrap();
    loop {
        match append(&lake, step).await {
            Ok(()) => println!("acknowledged {step}"),
            Err(error) => {
                println!("lost {}", error.code());
                return;
            }
        }
        step += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn start_child(moto: &Moto, state: &Path, first_step: i64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "object::s3::child", "--nocapture"])
        .envs(moto.environment())
        .env(CHILD, URL)
        .env(STATE, state)
        .env(FIRST_STEP, first_step.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a child some time after it opened the lake, and returns what it said that was acknowledged.
fn kill_after(mut child: Child, time: Duration) -> Vec<i64> {
    let output = child.stdout.take().unwrap();
    let (opened, open) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut steps = Vec::new();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line == "open" {
                let _ = opened.send(());
            } else if let Some(step) = line.strip_prefix("acknowledged ") {
                // The last line may have been cut by the kill.
                steps.extend(step.parse::<i64>().ok());
            } else {
                assert!(!line.starts_with("lost") && !line.starts_with("refused"), "{line}");
            }
        }
        steps
    });
    // Some are killed while they open.
    if time > Duration::from_millis(300) {
        open.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_once_after_kills() {
    let Some(moto) = Moto::start() else { return };
    let seed = match std::env::var("RUNLAKE_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    println!("RUNLAKE_TEST_SEED={seed}");
    let kills: u64 = std::env::var("RUNLAKE_TEST_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let state = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut next, mut random) = (Vec::new(), 0, seed | 1);
    for round in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let time = if round == 0 { 1_500 } else { (random >> 33) % 2_000 };
        let child = start_child(&moto, state.path(), next);
        acknowledged.extend(kill_after(child, Duration::from_millis(time)));
        // The client sends the batch again that it got no answer for, and goes on behind it.
        next = acknowledged.last().map_or(0, |last| last + 1);
    }
    let here = location(&store(&moto, "bucket"), state.path());
    let lake = Store::open(config(&here, "a test")).await.unwrap();
    let found = points_of(&lake.snapshot()).await;
    assert_eq!(acknowledged.len() as i64, next, "each step was acknowledged once");
    // One more may have become durable without an answer.
    let mut wanted = expected(0..next);
    if found.len() > wanted.len() {
        wanted = expected(0..=next);
    }
    assert_eq!(found, wanted);
    lake.flush().await.unwrap();
    lake.close().await;
    assert_eq!(points_of(&open_snapshot(&here).await.unwrap()).await, wanted);
    assert_eq!(verify(&here).await.unwrap().findings, []);
    println!("{kills} kills, {} points acknowledged, 0 lost, 0 doubled", acknowledged.len());
    assert!(next > 10, "with {next} points the kills hit nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_race_for_a_lake_one_gets_it() {
    let Some(moto) = Moto::start() else { return };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let children: Vec<_> = folders
        .iter()
        .enumerate()
        .map(|(n, folder)| start_child(&moto, folder.path(), n as i64 * 10_000))
        .collect();
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut running = Vec::new();
    for (number, mut child) in children.into_iter().enumerate() {
        let (output, sender) = (child.stdout.take().unwrap(), sender.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line == "open" || line.starts_with("refused") {
                    let _ = sender.send((number, line));
                }
            }
        });
        running.push(child);
    }
    let mut said: Vec<(usize, String)> =
        (0..3).map(|_| receiver.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    for child in &mut running {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    said.sort_by(|a, b| a.1.cmp(&b.1));
    let words: Vec<&str> =
        said.iter().map(|(_, line)| line.split_once(':').map_or(line.as_str(), |(word, _)| word)).collect();
    assert_eq!(words, ["open", "refused lake.locked", "refused lake.locked"], "{said:?}");
}
