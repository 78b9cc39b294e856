//! Aggregates whose groups are numbered: the same rows as counted by hand from what was put in.

use std::collections::BTreeMap;

use model::{Command, PointBatch, RunStatus};

use crate::lake::{Kept, Lake, block_on, new_run, params, run_id, series};

const RUNS: u128 = 9_000;
const NULL: &str = "NULL";

const STATUSES: [RunStatus; 5] =
    [RunStatus::Running, RunStatus::Scheduled, RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];

fn project(run: u128) -> String {
    format!("a-project-with-a-long-name-{}", run % 7)
}

fn experiment(run: u128) -> String {
    format!("experiment {}", run % 7 * 3 + run % 3)
}

fn status(run: u128) -> RunStatus {
    STATUSES[(run * 11 % 31 % 5) as usize]
}

fn user(run: u128) -> Option<String> {
    (!run.is_multiple_of(4)).then(|| format!("user {}", run % 4))
}

fn large(kept: Kept) -> Lake {
    let mut lake = Lake::empty();
    block_on(async {
        let (mut commands, mut points) = (Vec::new(), Vec::new());
        for run in 1..=RUNS {
            let new = new_run(run, &project(run), &experiment(run), "run", status(run));
            let Command::CreateRun(mut new) = new else { unreachable!() };
            new.user = user(run);
            commands.push(Command::CreateRun(new));
            commands.push(params(run, &[("lr", &(run % 5).to_string()), ("name", "x")]));
            for metric in ["loss", "acc"].into_iter().take(1 + (run % 2) as usize) {
                points.push(series(run, metric, None, &[(0, 1.0), (1, run as f64)]));
            }
            if run == RUNS / 2 {
                lake.store.apply(std::mem::take(&mut commands), None).await.unwrap();
                if kept != Kept::InMemory {
                    lake.store.flush().await.unwrap();
                }
            }
        }
        lake.store.apply(commands, None).await.unwrap();
        lake.store.append(PointBatch::new(points).unwrap(), None).await.unwrap();
        if kept == Kept::Flushed {
            lake.store.flush().await.unwrap();
        }
    });
    lake.snapshot = lake.store.snapshot();
    lake
}

/// Groups of runs by a key, with how many there are, their sum and their largest.
fn groups<K: Ord>(key: impl Fn(u128) -> K) -> BTreeMap<K, (u64, u128, u128)> {
    let mut groups = BTreeMap::new();
    for run in 1..=RUNS {
        let group: &mut (u64, u128, u128) = groups.entry(key(run)).or_default();
        *group = (group.0 + 1, group.1 + run, group.2.max(run));
    }
    groups
}

fn is_numbered(lake: &Lake, sql: &str) -> bool {
    format!("{:?}", lake.rows(&format!("EXPLAIN {sql}"))).contains("NumberedAggregate")
}

#[test]
fn runs_in_groups() {
    for kept in [Kept::Flushed, Kept::InMemory, Kept::Both] {
        let lake = large(kept);
        let sql = "SELECT project, status, count(*), count(*) FILTER (WHERE user = 'user 2'), max(run_id)
            FROM runs GROUP BY project, status ORDER BY project, status";
        assert!(is_numbered(&lake, sql));
        let mut expected: Vec<Vec<String>> = groups(|run| (project(run), status(run).as_str()))
            .into_iter()
            .map(|((project, status), (count, _, last))| {
                let of_user = (1..=RUNS).filter(|&run| {
                    self::project(run) == project
                        && self::status(run).as_str() == status
                        && user(run).as_deref() == Some("user 2")
                });
                let (of_user, last) = (of_user.count().to_string(), run_id(last).to_string());
                vec![project, status.to_owned(), count.to_string(), of_user, last]
            })
            .collect();
        assert_eq!(lake.rows(sql), expected);

        // One step, of NULL as of any text, of keys that are computed from columns, and of those that pass a filter.
        let sql = "SELECT user, count(*) FROM runs GROUP BY user ORDER BY user NULLS FIRST";
        expected = groups(user)
            .into_iter()
            .map(|(user, (count, ..))| vec![user.unwrap_or(NULL.to_owned()), count.to_string()])
            .collect();
        assert!(is_numbered(&lake, sql));
        assert_eq!(lake.rows(sql), expected);
        let sql = "SELECT right(project, 1) || status AS k, sum(seed), count(params['lr']), sum(params['lr'])
            FROM runs WHERE status <> 'FAILED' GROUP BY k ORDER BY k";
        assert!(is_numbered(&lake, sql));
        let key = |run: u128| format!("{}{}", run % 7, status(run).as_str());
        expected = groups(key)
            .into_iter()
            .filter(|(key, _)| !key.ends_with("FAILED"))
            .map(|(name, (count, ..))| {
                let sum: u128 = (1..=RUNS).filter(|&run| key(run) == name).map(|run| run % 5).sum();
                vec![name, NULL.to_owned(), count.to_string(), sum.to_string()]
            })
            .collect();
        assert_eq!(lake.rows(sql), expected);
    }
}

#[test]
fn series_and_params_in_groups() {
    for kept in [Kept::Flushed, Kept::InMemory] {
        let lake = large(kept);
        let sql = "SELECT metric, experiment, count(*), sum(count), sum(last) FROM series
            GROUP BY metric, experiment ORDER BY metric, experiment";
        assert!(is_numbered(&lake, sql));
        let mut expected = Vec::new();
        for metric in ["acc", "loss"] {
            for (name, _) in groups(experiment) {
                let of =
                    (1..=RUNS).filter(|&run| experiment(run) == name && (metric == "loss" || run % 2 == 1));
                let runs: Vec<u128> = of.collect();
                let sum = runs.iter().sum::<u128>() as f64;
                expected.push(vec![
                    metric.to_owned(),
                    name,
                    runs.len().to_string(),
                    (2 * runs.len()).to_string(),
                    format!("{sum:?}"),
                ]);
            }
        }
        assert_eq!(lake.rows(sql), expected);

        let sql = "SELECT key, project, count(*), sum(number) FROM params GROUP BY key, project ORDER BY key, project";
        assert!(is_numbered(&lake, sql));
        let mut expected = Vec::new();
        for key in ["lr", "name"] {
            for (name, (count, ..)) in groups(project) {
                let of = (1..=RUNS).filter(|&run| project(run) == name);
                let sum = of.map(|run| run % 5).sum::<u128>() as f64;
                let sum = if key == "lr" { format!("{sum:?}") } else { NULL.to_owned() };
                expected.push(vec![key.to_owned(), name, count.to_string(), sum]);
            }
        }
        assert_eq!(lake.rows(sql), expected);
    }
}

#[test]
fn groups_of_no_row_and_of_many_values_stay_with_the_engine() {
    let lake = large(Kept::InMemory);
    let empty = "SELECT project, count(*) FROM runs WHERE name = 'nobody' GROUP BY project";
    assert!(is_numbered(&lake, empty));
    assert_eq!(lake.rows(empty), Vec::<Vec<String>>::new());
    for sql in [
        "SELECT run_id, count(*) FROM runs GROUP BY run_id",
        "SELECT name, count(*) FROM runs GROUP BY name",
        "SELECT project, user, count(*) FROM runs GROUP BY GROUPING SETS ((project), (user))",
        "SELECT project || CAST(random() AS VARCHAR), count(*) FROM runs GROUP BY 1",
        "SELECT count(*) FROM runs",
    ] {
        assert!(!is_numbered(&lake, sql), "{sql}");
        assert!(!lake.rows(sql).is_empty(), "{sql}");
    }
    let users = "SELECT project, count(DISTINCT user) FROM runs GROUP BY project";
    assert!(lake.rows(users).iter().all(|row| row[1] == "3") && lake.rows(users).len() == 7);
}
