//! Random lakes.

use std::collections::BTreeMap;

use model::{
    Context, ExperimentName, Key, MetricName, ParamValue, ProjectName, Run, RunId, RunStatus, SeriesKey,
    TagValue,
};
use proptest::prelude::*;

use crate::collector::{Bits, Lake};

/// Texts with all that is awkward in a table.
fn text() -> impl Strategy<Value = String> {
    let awkward = prop::sample::select(vec![
        '"', ',', '\n', '\r', '\\', '\'', ' ', '\t', '\0', '\u{feff}', '{', ';', '#', 'é', '模', '😀', '=',
        '/',
    ]);
    let character = prop_oneof![3 => awkward, 2 => any::<char>(), 3 => prop::char::range('a', 'z')];
    prop::collection::vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

/// Texts without control characters, and not empty.
fn name() -> impl Strategy<Value = String> {
    text().prop_map(|text| {
        let kept: String = text.chars().filter(|c| !c.is_control()).collect();
        if kept.is_empty() { "x".to_owned() } else { kept }
    })
}

fn value() -> impl Strategy<Value = u64> {
    let special = prop::sample::select(vec![
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        f64::MIN,
        0.1,
        1e16,
        -1e-7,
    ]);
    prop_oneof![special.prop_map(f64::to_bits), any::<u64>(), any::<f64>().prop_map(f64::to_bits)]
}

fn point() -> impl Strategy<Value = (Bits, u32)> {
    let step = prop_oneof![0..4_i64, any::<i64>()];
    let fraction = prop::option::weighted(0.2, 0..1_000_000_i32);
    let time = prop_oneof![1_750_000_000_000_000..1_750_000_000_000_003_i64, any::<i64>()];
    let attempt = prop_oneof![4 => Just(0_u32), 1 => 0..3_u32, 1 => Just(i32::MAX as u32)];
    (step, fraction, time, value(), attempt)
        .prop_map(|(step, fraction, time, value, attempt)| ((step, fraction, time, value), attempt))
}

fn context() -> impl Strategy<Value = Option<Context>> {
    let object = (name(), text()).prop_map(|(key, value)| {
        let object: BTreeMap<String, String> = BTreeMap::from([(key, value)]);
        Context::parse(&serde_json::to_string(&object).unwrap()).unwrap()
    });
    prop_oneof![Just(None), Just(Some(Context::parse("{}").unwrap())), object.prop_map(Some)]
}

fn run() -> impl Strategy<Value = Run> {
    let statuses =
        [RunStatus::Running, RunStatus::Scheduled, RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];
    let texts = || prop::option::of(text());
    (
        (any::<u128>(), "[a-zA-Z0-9_-]{1,8}", name(), text(), prop::sample::select(statuses.to_vec())),
        (texts(), texts(), texts(), texts()),
        (any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<u128>>(), any::<bool>()),
        (
            prop::collection::btree_map(name(), text(), 0..4),
            prop::collection::btree_map(name(), text(), 0..4),
        ),
    )
        .prop_map(
            |(
                (id, project, experiment, name, status),
                texts,
                (start_time, end_time, parent, deleted),
                maps,
            )| {
                let (user, source, source_run_id, git_commit) = texts;
                let (params, tags) = maps;
                let key = |text: String| Key::new(text).unwrap();
                Run {
                    id: RunId::from_u128(id),
                    project: ProjectName::new(project).unwrap(),
                    experiment: ExperimentName::new(experiment).unwrap(),
                    name,
                    status,
                    user,
                    start_time,
                    end_time,
                    parent: parent.map(RunId::from_u128),
                    source,
                    source_run_id,
                    git_commit,
                    deleted,
                    params: params.into_iter().map(|(k, v)| (key(k), ParamValue::new(v).unwrap())).collect(),
                    tags: tags.into_iter().map(|(k, v)| (key(k), TagValue::new(v).unwrap())).collect(),
                }
            },
        )
}

/// A few runs with a few series each, also runs without any and series of one point.
pub(crate) fn lake() -> impl Strategy<Value = Lake> {
    let series = (name(), context(), prop::collection::vec(point(), 1..12));
    prop::collection::vec((run(), prop::collection::vec(series, 0..4)), 0..5).prop_map(|runs| {
        let mut lake = Lake::default();
        for (run, series) in runs {
            for (metric, context, points) in series {
                let metric = MetricName::new(metric).unwrap();
                lake.series.insert(SeriesKey { run: run.id, metric, context }, points);
            }
            lake.runs.insert(run.id, run);
        }
        lake
    })
}
