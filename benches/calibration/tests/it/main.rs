//! A short simulation that fails when the level of the gate is broken, and only then: its seed is fixed, and its bounds
//! are those of the binomial distribution at a chance of one in a million.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use calibration::{
    ALPHA, Method, ONE_LOOK, Share, TEN_LOOKS, World, above, compare_methods, gate_fixed, gate_looks,
    made_worlds, real_worlds,
};

const REPETITIONS: u32 = 400;

/// Chance that a gate of exactly its level is called broken.
const CHANCE: f64 = 1e-6;

fn worlds() -> Vec<World> {
    [made_worlds(), real_worlds().unwrap()].concat().into_iter().filter(World::is_null).collect()
}

fn assert_level(share: Share, what: &str) {
    println!("{what}: {:.1} % of {}", 100.0 * share.value(), share.trials);
    assert!(!above(share, ALPHA, CHANCE).unwrap(), "{what}: {} of {}", share.hits, share.trials);
}

#[test]
fn one_look_keeps_the_level_on_made_and_real_runs() {
    for world in worlds() {
        for runs in ONE_LOOK {
            let counts = gate_fixed(&world, runs, &[0.0], REPETITIONS).unwrap()[0];
            assert_level(counts.passed, &format!("{}, {runs} runs an arm, passes", world.name));
            assert_level(counts.failed, &format!("{}, {runs} runs an arm, fails", world.name));
        }
    }
}

#[test]
fn ten_looks_keep_the_level_together() {
    for world in worlds() {
        let counts = gate_looks(&world, &TEN_LOOKS, &[0.0], REPETITIONS).unwrap()[0];
        assert_level(counts.passed, &format!("{}, ten looks, passes", world.name));
        assert_level(counts.failed, &format!("{}, ten looks, fails", world.name));
    }
}

#[test]
fn a_broken_level_would_be_seen() {
    // What "chasing noise" does: the larger mean passes.
    let world = &made_worlds()[0];
    let found = compare_methods(world, 5, 0.0, REPETITIONS).unwrap();
    let of = |method: Method| found.iter().find(|(of, _)| *of == method).unwrap().1;
    assert!(above(of(Method::LargerMean).wrong, ALPHA, CHANCE).unwrap());
    assert!(above(of(Method::Percentile).wrong, ALPHA, 0.01).unwrap());
    // The gate and the method alone are one.
    let gate = gate_fixed(world, 5, &[0.0], REPETITIONS).unwrap()[0];
    assert_eq!(gate.passed, of(Method::Welch).wrong);
    assert_eq!(Some(gate.covered), of(Method::Welch).covered);
}

#[test]
fn effects_that_were_planned_for_are_found() {
    let counts = gate_fixed(&made_worlds()[0], 10, &[1.16], REPETITIONS).unwrap()[0];
    let power = counts.passed.value();
    assert!((power - 0.8).abs() < 0.08, "{power}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let world = &made_worlds()[1];
    let run = || {
        (
            gate_looks(world, &[3, 5, 12], &[0.0, 0.5], 300).unwrap(),
            compare_methods(world, 11, 0.5, 300).unwrap(),
        )
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(run);
    let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(run);
    assert_eq!(one, three);
}
