//! Answers of many rows come in the order that was asked for, with as many threads as there are.

use model::RunStatus;

use crate::lake::{Lake, block_on, new_run, params, run_id};

const RUNS: u128 = 30_000;

#[test]
fn long_answers_are_in_order() {
    let mut lake = Lake::empty();
    block_on(async {
        let commands = (1..=RUNS).flat_map(|run| {
            // Another order than that of ids.
            let rank = (run * 7_919 % 30_011).to_string();
            [new_run(run, "p", "e", &rank, RunStatus::Finished), params(run, &[("rank", &rank)])]
        });
        lake.store.apply(commands.collect(), None).await.unwrap();
    });
    lake.snapshot = lake.store.snapshot();
    let mut ranked: Vec<(u128, u128)> = (1..=RUNS).map(|run| (run * 7_919 % 30_011, run)).collect();
    ranked.sort_unstable();
    let by_rank: Vec<String> = ranked.iter().map(|(_, run)| run_id(*run).to_string()).collect();
    for sql in [
        "SELECT run_id FROM runs ORDER BY params['rank']",
        "SELECT run_id, upper(name) FROM runs ORDER BY params['rank']",
        "SELECT lower(run_id) FROM (SELECT run_id, params['rank'] AS rank FROM runs ORDER BY rank LIMIT 30000) ORDER BY rank",
        "SELECT run_id || '' FROM params ORDER BY number",
    ] {
        // Which batch comes first is a matter of luck.
        for _ in 0..8 {
            let found: Vec<String> = lake.rows(sql).into_iter().map(|mut row| row.swap_remove(0)).collect();
            assert!(found == by_rank, "{sql}: {} rows", found.len());
        }
    }
}
