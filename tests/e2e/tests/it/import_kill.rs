//! `kill -9` at any moment of an import: the next one completes it, and every point is there once.
//!
//! The variable `RUNLAKE_SEED` repeats a sequence of moments, `RUNLAKE_KILLS` asks for more of them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use e2e::{LakePlace, command, run, sql_texts};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::kill::environment;

const KILLS: u64 = 6;
const FILES: u64 = 24;
const ROWS: u64 = 6_000;

/// Tables without times, whose points get theirs from the lake; with repeated points, NaN, and rows that are rejected.
fn logs(folder: &Path) {
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    for file in 0..FILES {
        let mut text = "run,epoch,loss,acc,grad\n".to_owned();
        for row in 0..ROWS {
            let (run, value) = (row % 5, (row * file) as f64 * 1e-3);
            let _ = writeln!(
                text,
                "r{run},{},{value},{},{}",
                row / 10,
                if row % 97 == 0 { "nan" } else { "1" },
                -value
            );
            if row % 500 == 0 {
                text.push_str("r0,1,x,1,1\nr0,1,0.5,1,1\nr0,1,0.5,1,1\n");
            }
        }
        std::fs::write(folder.join(format!("inner/{file:02}.csv")), text).unwrap();
    }
}

/// All that tells whether two lakes hold the same points in the same runs; times are those of the files, but for order.
fn content(lake: &Path) -> Vec<Vec<String>> {
    sql_texts(
        lake,
        "SELECT r.source_run_id, s.metric, s.count, s.nan_count, s.first_step, s.last_step, s.min, s.max, s.fingerprint \
         FROM series s JOIN runs r USING (run_id) ORDER BY 1, 2",
    )
}

#[test]
fn an_import_that_is_killed_is_completed_by_the_next() {
    let seed = environment("RUNLAKE_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    println!("RUNLAKE_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let temporary = tempfile::tempdir().unwrap();
    let (killed, whole) = (temporary.path().join("killed"), temporary.path().join("whole"));
    let path = temporary.path().join("logs");
    logs(&path);
    let start = Instant::now();
    run(&whole, [Path::new("import"), &path]).expect(6);
    let needed = start.elapsed();
    let wanted = content(&whole);
    assert_eq!(wanted.len() as u64, FILES * 5 * 3);
    let mut hits = 0;
    for _ in 0..environment("RUNLAKE_KILLS").unwrap_or(KILLS) {
        let mut prepared = command();
        killed.prepare(&mut prepared);
        let mut child =
            prepared.arg("import").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let micros = needed.as_micros() as u64;
        std::thread::sleep(Duration::from_micros(random.next_u64() % (micros / 2).max(1)));
        hits += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!("{hits} kills hit an import that needs {:.1} s", needed.as_secs_f64());
    let last = run(&killed, [Path::new("import"), &path]).expect(6);
    assert_eq!(content(&killed), wanted, "{}", last.stdout);
    let receipts = run(&killed, ["import", "--receipts"]).expect(0).stdout;
    assert!(!receipts.contains("did not come to its end"), "{receipts}");
    let id = receipts.lines().last().unwrap().split_whitespace().next().unwrap();
    run(&killed, ["import", "--verify", id]).expect(0);
    // Once more: nothing is new.
    let again = run(&killed, [Path::new("import"), &path]).expect(6).stdout;
    assert!(again.contains("points (0 new"), "{again}");
    assert_eq!(content(&killed), wanted);
    run(&killed, ["verify"]).expect(0);
}
