//! The questions: as they are written for Runlake, and for an engine on plain tables (runs, params, tags, points).

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use runlake::Lake;

use crate::error::Result;

/// A question in two dialects.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) asks: &'static str,
    /// Whether it can be asked of a lake that has three metrics a run.
    pub(crate) metadata: bool,
    pub(crate) sql: String,
    pub(crate) peer_sql: String,
}

/// Which runs, project and times are asked for: found in the lake, the same for every engine.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    run: String,
    other: String,
    runs20: String,
    runs200: String,
    project: String,
    experiment: String,
    start_ms: i64,
    band: i64,
    max_step: i64,
}

async fn text(lake: &Lake, sql: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for batch in lake.sql(sql).await? {
        let column = cast(batch.column(0), &DataType::Utf8)?;
        found.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(found)
}

async fn number(lake: &Lake, sql: &str) -> Result<i64> {
    Ok(text(lake, sql).await?.first().and_then(|text| text.parse().ok()).unwrap_or_default())
}

impl Choices {
    pub(crate) async fn of(lake: &Lake, has_system_metrics: bool) -> Result<Self> {
        let with_loss = "FROM series WHERE metric = 'train/loss' AND run_id IN (SELECT run_id FROM series WHERE metric = 'val/loss')";
        let count = number(lake, &format!("SELECT count(*) {with_loss}")).await?;
        // Runs of middling length.
        let middle =
            format!("SELECT run_id {with_loss} ORDER BY count, run_id LIMIT 200 OFFSET {}", count / 2);
        let ids = text(lake, &middle).await?;
        let list =
            |count: usize| ids.iter().take(count).map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
        let run = ids.first().cloned().unwrap_or_default();
        let largest = |column: &str| {
            format!("SELECT {column} FROM runs GROUP BY {column} ORDER BY count(*) DESC, {column} LIMIT 1")
        };
        let start_ms = if has_system_metrics {
            let sql = "SELECT CAST(min(first_time) + (max(first_time) - min(first_time)) / 2 AS BIGINT) / 1000 FROM (SELECT CAST(first_time AS BIGINT) AS first_time FROM series WHERE metric = 'system/gpu.0.util')";
            number(lake, sql).await?
        } else {
            0
        };
        let experiment = text(lake, &largest("experiment")).await?.pop().unwrap_or_default();
        let longest = format!(
            "SELECT max(last_step) FROM series WHERE metric = 'val/loss' AND experiment = '{experiment}'"
        );
        let max_step = format!("SELECT max(last_step) + 1 FROM series WHERE run_id = '{run}'");
        Ok(Self {
            other: ids.get(1).cloned().unwrap_or_default(),
            runs20: list(20),
            runs200: list(200),
            project: text(lake, &largest("project")).await?.pop().unwrap_or_default(),
            band: (number(lake, &longest).await? / 20).max(1),
            max_step: number(lake, &max_step).await?.max(1),
            experiment,
            start_ms,
            run,
        })
    }
}

impl Question {
    #[rustfmt::skip]
    pub(crate) fn all(choices: &Choices) -> Vec<Self> {
        let Choices { run, other, runs20, runs200, project, experiment, start_ms, band, max_step } = choices;
        let end_ms = start_ms + 86_400_000;
        let (metadata, points) = (true, false);
        let decade = |lr: &str| format!("CASE WHEN {lr} < 0.0001 THEN -5 WHEN {lr} < 0.001 THEN -4 WHEN {lr} < 0.01 THEN -3 ELSE -2 END");
        let (ours_decade, their_decade) = (decade("r.params['optimizer.lr']"), decade("x.value_num"));
        let last = "WITH l AS (SELECT run_id, arg_max(value, (step, ts_ms)) AS v FROM points WHERE key='val/loss' AND isfinite(value) GROUP BY run_id)";
        let list: Vec<(&'static str, &'static str, bool, String, String)> = vec![
            ("Q01", "curve", metadata,
             format!("SELECT run_id, step, CAST(time AS BIGINT) / 1000 AS ts_ms, value FROM points WHERE run_id = '{run}' AND metric = 'train/loss' ORDER BY step, time"),
             format!("SELECT run_id, step, ts_ms, value FROM points WHERE run_id='{run}' AND key='train/loss' ORDER BY step, ts_ms")),
            ("Q02", "200 curves in buckets", points,
             format!("SELECT p.run_id, (p.step * 500) / (m.last_step + 1) AS b, count(*) AS n, avg(p.value) AS av, min(p.value) AS lo, max(p.value) AS hi FROM points p JOIN series m ON m.run_id = p.run_id AND m.metric = 'train/loss' WHERE p.metric = 'train/loss' AND p.run_id IN ({runs200}) AND isfinite(p.value) GROUP BY 1, 2"),
             format!("WITH m AS (SELECT run_id, max(step)+1 AS m FROM points WHERE key='train/loss' AND run_id IN ({runs200}) GROUP BY run_id) SELECT p.run_id, ((p.step*500)//(m.m)) AS b, count(*) AS n, avg(p.value) AS av, min(p.value) AS lo, max(p.value) AS hi FROM points p JOIN m ON p.run_id=m.run_id WHERE p.key='train/loss' AND p.run_id IN ({runs200}) AND isfinite(p.value) GROUP BY p.run_id, ((p.step*500)//(m.m))")),
            ("Q03", "last of all runs", metadata,
             "SELECT run_id, last_finite_step AS s, last_finite AS v FROM series WHERE metric = 'val/loss' AND last_finite IS NOT NULL".to_owned(),
             "SELECT run_id, max(step) AS s, arg_max(value, (step, ts_ms)) AS v FROM points WHERE key='val/loss' AND isfinite(value) GROUP BY run_id".to_owned()),
            ("Q04", "best of filtered runs", metadata,
             "SELECT s.run_id, s.min AS best FROM series s JOIN runs r ON r.run_id = s.run_id WHERE s.metric = 'val/loss' AND s.min IS NOT NULL AND r.params['optimizer.lr'] BETWEEN 0.0001 AND 0.01 AND r.params['optimizer.name'] IN ('adamw', 'lion') AND r.params['train.batch_size'] >= 64 ORDER BY best, s.run_id LIMIT 10".to_owned(),
             "SELECT run_id, min(value) AS best FROM points WHERE key='val/loss' AND isfinite(value) AND run_id IN (SELECT run_id FROM params WHERE key='optimizer.lr' AND value_num BETWEEN 0.0001 AND 0.01) AND run_id IN (SELECT run_id FROM params WHERE key='optimizer.name' AND value IN ('adamw','lion')) AND run_id IN (SELECT run_id FROM params WHERE key='train.batch_size' AND value_num >= 64) GROUP BY run_id ORDER BY best, run_id LIMIT 10".to_owned()),
            ("Q05", "top 50 of a project", metadata,
             format!("SELECT run_id, max AS best, argmax_step AS at_step FROM series WHERE project = '{project}' AND metric = 'val/acc' AND max IS NOT NULL ORDER BY best DESC, run_id LIMIT 50"),
             format!("SELECT p.run_id, max(p.value) AS best, arg_max(p.step, (p.value, -p.step)) AS at_step FROM points p JOIN runs r ON p.run_id=r.run_id WHERE r.project='{project}' AND p.key='val/acc' AND isfinite(p.value) GROUP BY p.run_id ORDER BY best DESC, run_id LIMIT 50")),
            ("Q06", "group sums for intervals", metadata,
             format!("SELECT r.params['optimizer.name'] AS opt, {ours_decade} AS dec, count(*) AS n, sum(s.last_finite) AS s1, sum(s.last_finite * s.last_finite) AS s2 FROM series s JOIN runs r ON r.run_id = s.run_id WHERE s.metric = 'val/loss' AND s.last_finite IS NOT NULL AND r.params['optimizer.name'] IS NOT NULL AND r.params['optimizer.lr'] IS NOT NULL GROUP BY 1, 2"),
             format!("{last} SELECT o.value AS opt, {their_decade} AS dec, count(*) AS n, sum(l.v) AS s1, sum(l.v*l.v) AS s2 FROM l JOIN params o ON o.run_id=l.run_id AND o.key='optimizer.name' JOIN params x ON x.run_id=l.run_id AND x.key='optimizer.lr' GROUP BY 1, 2")),
            ("Q07", "rolling mean of 20 runs", points,
             format!("SELECT run_id, step, CAST(time AS BIGINT) / 1000 AS ts_ms, avg(value) OVER (PARTITION BY run_id ORDER BY step, time ROWS BETWEEN 49 PRECEDING AND CURRENT ROW) AS sm FROM points WHERE metric = 'train/loss' AND run_id IN ({runs20}) AND isfinite(value)"),
             format!("SELECT run_id, step, ts_ms, avg(value) OVER (PARTITION BY run_id ORDER BY step, ts_ms ROWS BETWEEN 49 PRECEDING AND CURRENT ROW) AS sm FROM points WHERE key='train/loss' AND run_id IN ({runs20}) AND isfinite(value)")),
            ("Q08", "as-of join of 200 runs", points,
             format!("SELECT run_id, step, CAST(time AS BIGINT) / 1000 AS ts_ms, a AS vl, b AS tl FROM asof_join('SELECT run_id FROM runs WHERE run_id IN ({})', 'val/loss', 'train/loss', by => 'time', strict => true) WHERE b IS NOT NULL", runs200.replace('\'', "''")),
             format!("SELECT v.run_id, v.step, v.ts_ms, v.value AS vl, t.value AS tl FROM (SELECT * FROM points WHERE key='val/loss' AND run_id IN ({runs200})) v ASOF JOIN (SELECT * FROM points WHERE key='train/loss' AND run_id IN ({runs200})) t ON v.run_id=t.run_id AND v.ts_ms > t.ts_ms")),
            ("Q09", "NaN audit", points,
             "SELECT metric, sum(count) AS n, sum(count - nan_count - infinite_count) AS fin, sum(nan_count) AS nans FROM series GROUP BY metric".to_owned(),
             "SELECT key, count(*) AS n, sum(CASE WHEN isfinite(value) THEN 1 ELSE 0 END) AS fin, sum(CASE WHEN isnan(value) THEN 1 ELSE 0 END) AS nans FROM points GROUP BY key".to_owned()),
            ("Q10", "run diff", points,
             format!("SELECT a.metric, a.last_finite AS va, b.last_finite AS vb, a.last_finite - b.last_finite AS d FROM series a JOIN series b ON a.metric = b.metric WHERE a.run_id = '{run}' AND b.run_id = '{other}' AND a.last_finite IS NOT NULL AND b.last_finite IS NOT NULL"),
             format!("WITH l AS (SELECT run_id, key, arg_max(value, (step, ts_ms)) AS v FROM points WHERE run_id IN ('{run}', '{other}') AND isfinite(value) GROUP BY run_id, key) SELECT a.key, a.v AS va, b.v AS vb, a.v-b.v AS d FROM l a JOIN l b ON a.key=b.key WHERE a.run_id='{run}' AND b.run_id='{other}'")),
            ("Q11", "param diff", metadata,
             format!("SELECT key, min(text) AS lo, max(text) AS hi, count(*) AS n FROM params WHERE run_id IN ('{run}', '{other}') GROUP BY key HAVING count(*) = 1 OR min(text) <> max(text)"),
             format!("SELECT key, min(value) AS lo, max(value) AS hi, count(*) AS n FROM params WHERE run_id IN ('{run}', '{other}') GROUP BY key HAVING count(*)=1 OR min(value)<>max(value)")),
            ("Q12", "six predicates", metadata,
             "SELECT run_id, CAST(start_time AS BIGINT) / 1000 AS start_ms FROM runs WHERE params['optimizer.lr'] BETWEEN 0.001 AND 0.01 AND params['optimizer.name'] IN ('adamw', 'lion') AND params['train.batch_size'] >= 64 AND params['model.depth'] <= 12 AND params['model.dropout'] <= 0.2 AND params['data.dataset'] IN ('ds-01', 'ds-02', 'ds-03', 'ds-04') ORDER BY start_time DESC, run_id".to_owned(),
             "SELECT run_id, start_ms FROM runs WHERE run_id IN (SELECT run_id FROM params WHERE key='optimizer.lr' AND value_num BETWEEN 0.001 AND 0.01) AND run_id IN (SELECT run_id FROM params WHERE key='optimizer.name' AND value IN ('adamw','lion')) AND run_id IN (SELECT run_id FROM params WHERE key='train.batch_size' AND value_num >= 64) AND run_id IN (SELECT run_id FROM params WHERE key='model.depth' AND value_num <= 12) AND run_id IN (SELECT run_id FROM params WHERE key='model.dropout' AND value_num <= 0.2) AND run_id IN (SELECT run_id FROM params WHERE key='data.dataset' AND value IN ('ds-01','ds-02','ds-03','ds-04')) ORDER BY start_ms DESC, run_id".to_owned()),
            ("Q13", "tags", metadata,
             "SELECT run_id, CAST(start_time AS BIGINT) / 1000 AS start_ms FROM runs WHERE status = 'FINISHED' AND tags['team'] IN ('nlp', 'vision', 'rl') AND tags['gpu_type'] IN ('h100', 'a100') AND tags['stage'] IN ('prod', 'release') ORDER BY start_time DESC, run_id LIMIT 100".to_owned(),
             "SELECT run_id, start_ms FROM runs WHERE status='FINISHED' AND run_id IN (SELECT run_id FROM tags WHERE key='team' AND value IN ('nlp','vision','rl')) AND run_id IN (SELECT run_id FROM tags WHERE key='gpu_type' AND value IN ('h100','a100')) AND run_id IN (SELECT run_id FROM tags WHERE key='stage' AND value IN ('prod','release')) ORDER BY start_ms DESC, run_id LIMIT 100".to_owned()),
            ("Q14", "utilisation in a day", points,
             format!("SELECT r.tags['host'] AS host, (CAST(p.time AS BIGINT) / 1000) / 300000 AS b, count(*) AS n, avg(p.value) AS av, min(p.value) AS lo FROM points p JOIN runs r ON p.run_id = r.run_id WHERE p.metric IN ('system/gpu.0.util', 'system/gpu.1.util', 'system/gpu.2.util', 'system/gpu.3.util') AND p.time >= to_timestamp_millis({start_ms}) AND p.time < to_timestamp_millis({end_ms}) GROUP BY 1, 2"),
             format!("SELECT r.host, ((p.ts_ms)//(300000)) AS b, count(*) AS n, avg(p.value) AS av, min(p.value) AS lo FROM points p JOIN runs r ON p.run_id=r.run_id WHERE p.key IN ('system/gpu.0.util','system/gpu.1.util','system/gpu.2.util','system/gpu.3.util') AND p.ts_ms>={start_ms} AND p.ts_ms<{end_ms} GROUP BY r.host, ((p.ts_ms)//(300000))")),
            ("Q15", "percentiles across seeds", points,
             format!("SELECT r.params['optimizer.name'] AS opt, p.step / {band} AS b, count(*) AS n, percentile_cont(0.1) WITHIN GROUP (ORDER BY p.value) AS p10, percentile_cont(0.5) WITHIN GROUP (ORDER BY p.value) AS p50, percentile_cont(0.9) WITHIN GROUP (ORDER BY p.value) AS p90 FROM points p JOIN runs r ON r.run_id = p.run_id WHERE p.metric = 'val/loss' AND isfinite(p.value) AND p.experiment = '{experiment}' AND r.params['optimizer.name'] IS NOT NULL GROUP BY 1, 2"),
             format!("SELECT o.value AS opt, ((p.step)//({band})) AS b, count(*) AS n, quantile_cont(p.value, 0.1) AS p10, quantile_cont(p.value, 0.5) AS p50, quantile_cont(p.value, 0.9) AS p90 FROM points p JOIN params o ON o.run_id=p.run_id AND o.key='optimizer.name' WHERE p.key='val/loss' AND isfinite(p.value) AND p.run_id IN (SELECT run_id FROM runs WHERE experiment='{experiment}') GROUP BY o.value, ((p.step)//({band}))")),
            ("Q16", "three best of every experiment", metadata,
             "SELECT * FROM (SELECT experiment, run_id, last_finite AS v, row_number() OVER (PARTITION BY experiment ORDER BY last_finite, run_id) AS rk FROM series WHERE metric = 'val/loss' AND last_finite IS NOT NULL) WHERE rk <= 3".to_owned(),
             format!("{last}, k AS (SELECT r.experiment AS experiment, l.run_id AS run_id, l.v AS v, row_number() OVER (PARTITION BY r.experiment ORDER BY l.v, l.run_id) AS rk FROM l JOIN runs r ON r.run_id=l.run_id) SELECT experiment, run_id, v, rk FROM k WHERE rk<=3")),
            ("Q17", "runs with equal configuration", metadata,
             "SELECT min(run_id) AS a, max(run_id) AS b, count(*) AS n FROM runs GROUP BY config_hash_with_seed HAVING count(*) > 1".to_owned(),
             "SELECT min(run_id) AS a, max(run_id) AS b, count(*) AS n FROM (SELECT run_id, string_agg(key||'='||value, ';' ORDER BY key) AS cfg FROM params GROUP BY run_id) c GROUP BY cfg HAVING count(*)>1".to_owned()),
            ("Q18", "full scan", points,
             "SELECT split_part(metric, '/', 1) AS grp, count(*) AS n, sum(value) AS s, min(value) AS lo, max(value) AS hi FROM points WHERE abs(value) < 1000000 GROUP BY 1".to_owned(),
             "SELECT split_part(key,'/',1) AS grp, count(*) AS n, sum(value) AS s, min(value) AS lo, max(value) AS hi FROM points WHERE abs(value)<1000000 GROUP BY split_part(key,'/',1)".to_owned()),
            ("Q19", "runs page of a project", metadata,
             format!("WITH l AS (SELECT run_id, max(CASE WHEN metric = 'val/loss' THEN last_finite END) AS vl, max(CASE WHEN metric = 'val/acc' THEN last_finite END) AS va, max(CASE WHEN metric = 'train/loss' THEN last_finite END) AS tl FROM series WHERE project = '{project}' AND metric IN ('val/loss', 'val/acc', 'train/loss') GROUP BY run_id) SELECT r.run_id, r.name, r.status, r.params['optimizer.lr'] AS lr, r.params['optimizer.name'] AS opt, r.params['train.batch_size'] AS bs, l.vl, l.va, l.tl FROM runs r JOIN l ON l.run_id = r.run_id WHERE r.project = '{project}' AND l.vl IS NOT NULL ORDER BY l.vl, r.run_id LIMIT 100"),
             format!("WITH l AS (SELECT run_id, key, arg_max(value, (step, ts_ms)) AS v FROM points WHERE key IN ('val/loss','val/acc','train/loss') AND isfinite(value) AND run_id IN (SELECT run_id FROM runs WHERE project='{project}') GROUP BY run_id, key), m AS (SELECT run_id, max(CASE WHEN key='val/loss' THEN v END) AS vl, max(CASE WHEN key='val/acc' THEN v END) AS va, max(CASE WHEN key='train/loss' THEN v END) AS tl FROM l GROUP BY run_id), pp AS (SELECT run_id, max(CASE WHEN key='optimizer.lr' THEN value END) AS lr, max(CASE WHEN key='optimizer.name' THEN value END) AS opt, max(CASE WHEN key='train.batch_size' THEN value END) AS bs FROM params WHERE key IN ('optimizer.lr','optimizer.name','train.batch_size') AND run_id IN (SELECT run_id FROM runs WHERE project='{project}') GROUP BY run_id) SELECT r.run_id, r.name, r.status, pp.lr, pp.opt, pp.bs, m.vl, m.va, m.tl FROM runs r JOIN m ON m.run_id=r.run_id JOIN pp ON pp.run_id=r.run_id WHERE r.project='{project}' AND m.vl IS NOT NULL ORDER BY m.vl, r.run_id LIMIT 100")),
            ("Q20", "sums for correlations", metadata,
             format!("SELECT p.key, count(*) AS n, sum(p.number) AS sx, sum(s.last_finite) AS sy, sum(p.number * s.last_finite) AS sxy, sum(p.number * p.number) AS sxx, sum(s.last_finite * s.last_finite) AS syy FROM params p JOIN series s ON s.run_id = p.run_id WHERE s.metric = 'val/loss' AND s.last_finite IS NOT NULL AND s.project = '{project}' AND p.project = '{project}' AND p.number IS NOT NULL GROUP BY p.key"),
             format!("{last} SELECT p.key, count(*) AS n, sum(p.value_num) AS sx, sum(l.v) AS sy, sum(p.value_num*l.v) AS sxy, sum(p.value_num*p.value_num) AS sxx, sum(l.v*l.v) AS syy FROM params p JOIN l ON l.run_id=p.run_id JOIN runs r ON r.run_id=p.run_id WHERE r.project='{project}' AND p.value_num IS NOT NULL GROUP BY p.key")),
            ("Q21", "gradient heat map of a run", points,
             format!("SELECT metric, (step * 100) / {max_step} AS b, avg(value) AS av, max(value) AS hi FROM points WHERE run_id = '{run}' AND metric LIKE 'grad_norm/%' AND isfinite(value) GROUP BY 1, 2"),
             format!("SELECT key, ((step*100)//({max_step})) AS b, avg(value) AS av, max(value) AS hi FROM points WHERE run_id='{run}' AND key LIKE 'grad_norm/%' AND isfinite(value) GROUP BY key, ((step*100)//({max_step}))")),
            ("Q22", "runs by project and status", metadata,
             "SELECT project, status, count(*) AS n, max(CAST(start_time AS BIGINT) / 1000) AS last FROM runs GROUP BY project, status".to_owned(),
             "SELECT project, status, count(*) AS n, max(start_ms) AS last FROM runs GROUP BY project, status".to_owned()),
        ];
        list.into_iter()
            .map(|(name, asks, metadata, sql, peer_sql)| Self { name, asks, metadata, sql, peer_sql })
            .collect()
    }
}
