//! Distances of curves, medoids, outliers and the embedding of runs.

use kernels::cluster::{
    Column, CurveMeasure, CurveOutlierRequest, CurveRequest, Curves, Features, Goal, Grid, MedoidsRequest,
    Members, curve_outliers, embed, kmedoids, resample_curves, row_outliers,
};
use kernels::{Backend, CpuBackend};

/// Curves of three shapes with unequal numbers of steps: falling, rising, flat; the shape is the number modulo 3.
fn three_shapes(count: usize) -> (Vec<f64>, Vec<f64>, Vec<u32>) {
    let (mut steps, mut values, mut offsets) = (Vec::new(), Vec::new(), vec![0]);
    for curve in 0..count {
        let length = 20 + curve % 13;
        for position in 0..length {
            let along = position as f64 / (length - 1) as f64;
            steps.push(along * (100.0 + curve as f64));
            let wiggle = 0.02 * (along * 40.0 + curve as f64).sin();
            values.push(wiggle + [(-4.0 * along).exp(), along * along, 0.5][curve % 3]);
        }
        offsets.push(steps.len() as u32);
    }
    (steps, values, offsets)
}

#[test]
fn shapes_of_curves_are_found_by_every_measure() {
    let (steps, values, offsets) = three_shapes(60);
    let curves = Curves { steps: &steps, values: &values, offsets: &offsets };
    let measures = [
        CurveMeasure::Euclidean,
        CurveMeasure::Dtw { window: Some(8) },
        CurveMeasure::SoftDtw { gamma: 0.1 },
    ];
    for measure in measures {
        let out = CpuBackend::new().curve_distances(&CurveRequest::new(curves).measure(measure)).unwrap();
        assert_eq!(out.distances.len(), 3_600);
        for row in 0..60 {
            assert_eq!(out.distances[row * 61], 0.0);
            assert!((0..60).all(|other| out.distances[row * 60 + other] == out.distances[other * 60 + row]));
        }
        let found = kmedoids(&MedoidsRequest::new(Members::Matrix(&out.distances), 3)).unwrap();
        assert_eq!(found.sizes, [20, 20, 20], "{measure:?}");
        assert!((0..60).all(|curve| found.labels[curve] == found.labels[curve % 3]), "{measure:?}");
    }
}

#[test]
fn warping_forgives_a_shift_and_euclid_does_not() {
    let steps: Vec<f64> = (0..2).flat_map(|_| (0..50).map(f64::from)).collect();
    let bump = |at: f64, step: f64| (-(step - at).powi(2) / 8.0).exp();
    let values: Vec<f64> =
        steps.iter().enumerate().map(|(i, &step)| bump(if i < 50 { 20.0 } else { 28.0 }, step)).collect();
    let curves = Curves { steps: &steps, values: &values, offsets: &[0, 50, 100] };
    let between = |measure| {
        let request = CurveRequest { points: 50, ..CurveRequest::new(curves).measure(measure) };
        CpuBackend::new().curve_distances(&request).unwrap().distances[1]
    };
    let euclid = between(CurveMeasure::Euclidean);
    let by_hand = (0..50).map(|i| (values[i] - values[50 + i]).powi(2)).sum::<f64>().sqrt();
    assert!((f64::from(euclid) - by_hand).abs() < 1e-6);
    assert!(between(CurveMeasure::Dtw { window: None }) < 0.1 * euclid);
    assert_eq!(between(CurveMeasure::Dtw { window: Some(0) }), euclid);
    assert!(between(CurveMeasure::Dtw { window: Some(3) }) <= euclid);
}

#[test]
fn resampling_is_linear_and_skips_what_is_not_finite() {
    let curves = Curves {
        steps: &[0.0, 2.0, 2.0, 4.0, 1.0, 3.0, 5.0],
        values: &[0.0, 9.0, 2.0, 4.0, 1.0, f64::NAN, 3.0],
        offsets: &[0, 4, 7],
    };
    let out = resample_curves(curves, 4, Grid::Common).unwrap();
    // Steps 1, 2, 3, 4; of the two points at step 2 the last counts.
    assert_eq!(out.values, [1.0, 2.0, 3.0, 4.0, 1.0, 1.5, 2.0, 2.5]);
    assert_eq!(out.skipped, [0, 1]);
}

#[test]
fn bad_curves_are_refused() {
    let code = |steps: &[f64], values: &[f64], offsets: &[u32], grid| {
        resample_curves(Curves { steps, values, offsets }, 3, grid).err().map(|error| error.code())
    };
    assert_eq!(code(&[1.0, 0.0], &[0.0, 0.0], &[0, 2], Grid::Own), Some("bad_steps"));
    assert_eq!(code(&[f64::NAN], &[0.0], &[0, 1], Grid::Own), Some("bad_steps"));
    assert_eq!(code(&[0.0, 1.0], &[f64::NAN, f64::NAN], &[0, 2], Grid::Own), Some("empty_curve"));
    assert_eq!(code(&[0.0], &[1.0], &[0, 1, 1], Grid::Own), Some("empty_curve"));
    assert_eq!(code(&[0.0, 1.0], &[1.0], &[0, 2], Grid::Own), Some("bad_shape"));
    assert_eq!(code(&[0.0, 1.0], &[1.0, 2.0], &[0, 1], Grid::Own), Some("bad_shape"));
    assert_eq!(code(&[0.0, 1.0], &[1.0, 2.0], &[], Grid::Own), Some("bad_shape"));
    assert_eq!(
        code(&[0.0, 1.0, 5.0, 6.0], &[1.0; 4], &[0, 2, 4], Grid::Common),
        Some("parameter_out_of_range")
    );
    let curves = Curves { steps: &[0.0], values: &[1.0], offsets: &[0, 1] };
    let backend = CpuBackend::new();
    let request = CurveRequest::new(curves);
    assert!(backend.curve_distances(&CurveRequest { points: 1, ..request }).is_err());
    for gamma in [0.0, -1.0, f64::NAN] {
        assert!(backend.curve_distances(&request.measure(CurveMeasure::SoftDtw { gamma })).is_err());
    }
    assert_eq!(backend.curve_distances(&request).unwrap().distances, [0.0]);
    let none = Curves { steps: &[], values: &[], offsets: &[0] };
    assert!(backend.curve_distances(&CurveRequest::new(none)).unwrap().distances.is_empty());
}

#[test]
fn samples_find_medoids_nearly_as_good() {
    let values: Vec<f64> = (0..6_000u32)
        .map(|i| f64::from(i % 3) * 10.0 + f64::from(i.wrapping_mul(2_654_435_761) >> 12) / 1e6)
        .collect();
    let request = MedoidsRequest::new(Members::Features(Features { values: &values, columns: 2 }), 4);
    let exact = kmedoids(&request).unwrap();
    let sampled = kmedoids(&MedoidsRequest { exact_up_to: 100, ..request }).unwrap();
    assert!(sampled.sampled && !exact.sampled);
    assert!(sampled.cost >= exact.cost * 0.999_999 && sampled.cost < exact.cost * 1.05);
    let nan = [f64::NAN, 1.0];
    let request = MedoidsRequest::new(Members::Features(Features { values: &nan, columns: 1 }), 1);
    assert_eq!(kmedoids(&request).err().map(|error| error.code()), Some("nonfinite_feature"));
}

#[test]
fn local_outlier_factors_by_hand() {
    // Five rows on a line, k = 2; reach distances and densities worked out by hand.
    let features = Features { values: &[0.0, 1.0, 2.0, 3.0, 10.0], columns: 1 };
    let out = row_outliers(features, 2).unwrap();
    assert_eq!(out.distances, [1.5, 1.0, 1.0, 1.5, 7.5]);
    // Reach of rows: 2, 1, 1, 2, 8. Densities: row 0 1/1.5, 1 1/1.5, 2 1/1.5, 3 1/1.5, 4 1/7.5.
    let expected = [1.0, 1.0, 1.0, 1.0, 5.0];
    for (factor, expected) in out.factors.iter().zip(expected) {
        assert!((factor - expected).abs() < 1e-12, "{:?}", out.factors);
    }
    assert!(row_outliers(features, 5).is_err());
    let equal = row_outliers(Features { values: &[3.0; 8], columns: 2 }, 2).unwrap();
    assert_eq!((equal.factors, equal.scores), (vec![1.0; 4], vec![0.0; 4]));
}

#[test]
fn curves_without_gain_or_values() {
    let curves = Curves {
        steps: &[0.0, 1.0, 0.0, 1.0, 0.0],
        values: &[2.0, 2.0, f64::NAN, f64::INFINITY, 1.0],
        offsets: &[0, 2, 4, 5, 5],
    };
    let out = curve_outliers(&CurveOutlierRequest::new(curves, Goal::High)).unwrap();
    assert_eq!(out.typical_gain, 0.0);
    assert_eq!(out.stuck, [true, false, true, false]);
    assert_eq!(out.diverged, [false, true, false, true]);
    assert!(out.spiking.iter().all(|spiking| !spiking));
    let request =
        CurveOutlierRequest { stuck_above: f64::NAN, ..CurveOutlierRequest::new(curves, Goal::Low) };
    assert!(curve_outliers(&request).is_err());
}

#[test]
fn high_goals_mirror_low_goals() {
    let (steps, values, offsets) = three_shapes(30);
    let mirrored: Vec<f64> = values.iter().map(|value| -value).collect();
    let low = Curves { steps: &steps, values: &values, offsets: &offsets };
    let high = Curves { values: &mirrored, ..low };
    assert_eq!(
        curve_outliers(&CurveOutlierRequest::new(low, Goal::Low)).unwrap(),
        curve_outliers(&CurveOutlierRequest::new(high, Goal::High)).unwrap()
    );
}

#[test]
fn embedding_keeps_its_rules() {
    let rate = Column::Number { name: "lr", values: &[0.1, f64::NAN, 0.3, 0.2], log: false };
    let depth = Column::Number { name: "depth", values: &[3.0; 4], log: true };
    let names: Vec<String> = (0..10_000).map(|level| format!("v{level}")).collect();
    let levels: Vec<&str> = names.iter().map(String::as_str).collect();
    let kind = Column::Category { name: "kind", codes: &[7, 9_999, 7, Column::MISSING], levels: &levels };
    let (steps, values, offsets) = three_shapes(4);
    let curves = Curves { steps: &steps, values: &values, offsets: &offsets };
    let loss = Column::Curve { name: "loss", curves, goal: Goal::Low };
    let out = embed(&[rate, depth, kind, loss]).unwrap();
    assert_eq!(out.names[..4], ["lr", "lr (missing)", "kind=v7", "kind=v9999"]);
    assert_eq!(out.names.len(), 4 + 7);
    assert_eq!(out.constant, ["ln depth"]);
    let columns = out.names.len();
    for (row, expected) in [[-1.5f64.sqrt(), 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]].iter().enumerate() {
        for (value, expected) in out.values[row * columns..].iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{:?}", out.values);
        }
    }
    assert_eq!(out.values[3 * columns + 2..3 * columns + 4], [0.0, 0.0]);
    assert_eq!(out.features().rows(), 4);
    // More levels than columns: the rest share one.
    let codes: Vec<u32> = (0..1_000).map(|run| run % 200).collect();
    let out = embed(&[Column::Category { name: "kind", codes: &codes, levels: &levels }]).unwrap();
    assert_eq!((out.names.len(), out.names[64].as_str()), (65, "kind=(other)"));
    assert!(out.values.chunks(65).all(|row| row.iter().sum::<f64>() == 1.0));
}

#[test]
fn embedding_refuses_what_it_cannot_place() {
    let code = |column: Column<'_>| embed(&[column]).err().map(|error| error.code());
    let number = |values, log| Column::Number { name: "x", values, log };
    assert_eq!(code(number(&[1.0, f64::INFINITY], false)), Some("nonfinite_feature"));
    assert_eq!(code(number(&[1.0, 0.0], true)), Some("log_of_nonpositive"));
    let kind = Column::Category { name: "c", codes: &[0, 3], levels: &["a", "b"] };
    assert_eq!(code(kind), Some("parameter_out_of_range"));
    let lengths = embed(&[number(&[1.0], false), number(&[1.0, 2.0], false)]);
    assert_eq!(lengths.err().map(|error| error.code()), Some("bad_shape"));
    let nothing = embed(&[number(&[2.0, 2.0], false)]).unwrap();
    assert_eq!((nothing.features().rows(), nothing.features().columns), (2, 1));
    let all_missing = embed(&[number(&[f64::NAN, f64::NAN], false)]).unwrap();
    assert_eq!(all_missing.constant, ["x", "x (missing)"]);
    assert_eq!(embed(&[]).unwrap().features().rows(), 0);
}
