//! Golden suites of curves and of adjusted p-values.

use analysis::{
    Correction, Decay, RollingMedian, downsample_minmax, ema_tensorboard, ewm, lttb,
    two_stage_false_discovery,
};
use serde_json::{Value, json};

use crate::golden::{Answer, check, number, shown_list};

#[test]
fn smoothing() {
    // The window functions of SQL answer these.
    check("smoothing", &["mean", "std", "min", "max"], |vector| {
        let y = vector.input("y");
        let flag = |key: &str| vector.parameter(key).as_bool().unwrap_or(false);
        match vector.parameter("kind").as_str().unwrap() {
            "tensorboard" => Answer::Got(
                json!({"y": shown_list(&ema_tensorboard(&y, number(vector.parameter("weight"))))}),
            ),
            "ewm" => {
                let decay = Decay::Alpha(1.0 - number(vector.parameter("weight")));
                let smoothed = ewm(&y, decay, flag("adjust"), flag("ignore_na")).unwrap();
                Answer::Got(json!({"y": shown_list(&smoothed)}))
            }
            _ => {
                let mut rolling = RollingMedian::new(number(vector.parameter("window")) as usize).unwrap();
                let medians: Vec<f64> = y.iter().map(|value| rolling.push(*value)).collect();
                Answer::Got(json!({"median": shown_list(&medians)}))
            }
        }
    });
}

#[test]
fn downsampling() {
    let other_variants = ["lttb_array_split", "lttb_tsdownsample", "minmax_tsdownsample", "m4_tsdownsample"];
    check("downsampling", &other_variants, |vector| {
        if vector.name() == "nan_aware_minmax" {
            return Answer::Skip(
                "another library's rule for gaps; ours keeps every divergence and both extremes",
            );
        }
        let y = vector.input("y");
        let x = match vector.raw_input("x") {
            Value::String(_) => (0..y.len()).map(|i| i as f64).collect(),
            _ => vector.input("x"),
        };
        let count = number(vector.parameter("n_out")) as usize;
        let minmax = downsample_minmax(&y, number(vector.parameter("minmax_buckets")) as usize);
        let kept = &vector.expected()["global_min_max_kept"];
        let all_kept = kept.as_array().unwrap().iter().all(|i| minmax.contains(&(number(i) as usize)));
        Answer::Got(json!({
            "lttb_steinarsson": lttb(&x, &y, count).unwrap(),
            "minmax_equal_count": minmax,
            "global_min_max_kept": if all_kept { kept.clone() } else { Value::Null },
        }))
    });
}

#[test]
fn multiplicity() {
    check("multiplicity", &[], |vector| {
        let p = vector.input("p");
        let alpha = number(vector.parameter("alpha"));
        let shown = |adjusted: Vec<f64>| {
            let reject: Vec<bool> = adjusted.iter().map(|p| *p <= alpha).collect();
            json!({"adjusted": adjusted, "reject": reject})
        };
        let by = |correction: Correction| shown(correction.adjust(&p).unwrap());
        Answer::Got(json!({
            "bonferroni": by(Correction::Bonferroni),
            "sidak": by(Correction::Sidak),
            "holm": by(Correction::Holm),
            "holm_sidak": by(Correction::HolmSidak),
            "hochberg": by(Correction::Hochberg),
            "hommel": by(Correction::Hommel),
            "bh": by(Correction::BenjaminiHochberg),
            "by": by(Correction::BenjaminiYekutieli),
            "tsbky": shown(two_stage_false_discovery(&p, alpha).unwrap()),
        }))
    });
}
