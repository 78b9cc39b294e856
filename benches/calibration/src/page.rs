//! The simulation of all worlds, and its page of tables.

use std::fmt::Write as _;

use analysis::{Design, Sides, detectable_effect};

use crate::ALPHA;
use crate::error::Result;
use crate::gates::{GateCounts, ONE_LOOK, TEN_LOOKS, gate_fixed, gate_looks};
use crate::methods::{Method, MethodCounts, compare_methods};
use crate::shares::{Share, above, shown};
use crate::worlds::{Source, World};

/// Chance that a page without a fault names one: shared by all cells.
const DOUBT: f64 = 0.05;

/// With unequal spreads no method keeps its level to the digit: one point more is let pass.
const UNEQUAL_RATE: f64 = ALPHA + 0.01;

/// How long to simulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Repetitions of each cell of made data.
    pub made: u32,
    /// Of each cell of real runs.
    pub real: u32,
}

/// Gates without and with the effect, and all methods, at one number of runs.
type OneLook = (Vec<GateCounts>, Vec<(Method, MethodCounts)>);

/// What a table shows of each cell.
type Column = fn(&GateCounts) -> Share;

/// What came of one world.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    world: World,
    /// For each number of runs of [`ONE_LOOK`]: without a difference, with the effect of that number, methods.
    one_look: Vec<OneLook>,
    /// Without a difference and with the effect.
    ten_looks: Vec<GateCounts>,
}

/// All worlds.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    plan: Plan,
    /// For each number of runs of [`ONE_LOOK`], in standard deviations.
    effects: Vec<f64>,
    /// With ten looks.
    looks_effect: f64,
    rows: Vec<Row>,
}

/// Simulates everything.
///
/// # Errors
/// When the gate or a method refuses its data.
pub fn simulate(worlds: Vec<World>, plan: Plan) -> Result<Page> {
    let effect = |runs: usize| detectable_effect(Design::BALANCED, runs as f64, ALPHA, 0.8, Sides::One);
    let effects = ONE_LOOK.iter().map(|runs| effect(*runs)).collect::<analysis::Result<Vec<_>>>()?;
    // What ten runs an arm show with one look.
    let looks_effect = effect(10)?;
    let mut rows = Vec::with_capacity(worlds.len());
    for world in worlds {
        let repetitions = if matches!(world.source, Source::Made(_)) { plan.made } else { plan.real };
        let mut one_look = Vec::with_capacity(ONE_LOOK.len());
        for (runs, effect) in ONE_LOOK.iter().zip(&effects) {
            let effect = effect * world.sd();
            one_look.push((
                gate_fixed(&world, *runs, &[0.0, effect], repetitions)?,
                compare_methods(&world, *runs, effect, repetitions)?,
            ));
        }
        let ten_looks = gate_looks(&world, &TEN_LOOKS, &[0.0, looks_effect * world.sd()], repetitions)?;
        rows.push(Row { world, one_look, ten_looks });
    }
    Ok(Page { plan, effects, looks_effect, rows })
}

impl Page {
    /// Cells of equal arms whose share of false passes is above the level by more than chance, over all of them.
    ///
    /// # Errors
    /// Without any repetition.
    pub fn too_many_passes(&self) -> Result<Vec<String>> {
        let mut cells = Vec::new();
        for row in self.rows.iter().filter(|row| row.world.is_null()) {
            let one_look = row.one_look.iter().map(|(gates, _)| gates[0].passed);
            let names = ONE_LOOK.iter().map(|runs| format!("{}, {runs} runs an arm", row.world.name));
            cells.extend(names.zip(one_look));
            cells.push((format!("{}, ten looks", row.world.name), row.ten_looks[0].passed));
        }
        let doubt = DOUBT / cells.len().max(1) as f64;
        let mut wrong = Vec::new();
        for (name, share) in cells {
            if above(share, ALPHA, doubt)? {
                wrong.push(format!("{name}: {}", shown(share)?));
            }
        }
        Ok(wrong)
    }

    /// Methods for means that keep their level at a number of runs, by its place in [`ONE_LOOK`].
    fn valid_methods(&self, place: usize) -> Result<Vec<Method>> {
        let mut valid = Vec::new();
        for method in Method::ALL.into_iter().filter(|method| method.is_of_means()) {
            let mut keeps = true;
            for row in &self.rows {
                let rate = if row.world.is_null() { ALPHA } else { UNEQUAL_RATE };
                let found = row.one_look[place].1.iter().find(|(of, _)| *of == method);
                if let Some((_, counts)) = found {
                    keeps &= !above(counts.wrong, rate, DOUBT / self.rows.len() as f64)?;
                }
            }
            if keeps {
                valid.push(method);
            }
        }
        Ok(valid)
    }

    /// The largest lead of a valid method over the gate in power: points, world, runs and method.
    ///
    /// # Errors
    /// Without any repetition.
    pub fn largest_lead(&self) -> Result<Option<(f64, String)>> {
        let mut largest: Option<(f64, String)> = None;
        for (place, runs) in ONE_LOOK.iter().enumerate() {
            let valid = self.valid_methods(place)?;
            for row in &self.rows {
                let (gates, methods) = &row.one_look[place];
                for (method, counts) in methods.iter().filter(|(method, _)| valid.contains(method)) {
                    let lead = counts.found.value() - gates[1].passed.value();
                    if largest.as_ref().is_none_or(|(most, _)| lead > *most) {
                        let name = method.name().replace('*', "");
                        largest = Some((lead, format!("{name}, {}, {runs} runs an arm", row.world.name)));
                    }
                }
            }
        }
        Ok(largest)
    }

    /// The page.
    ///
    /// # Errors
    /// Without any repetition.
    pub fn to_markdown(&self) -> Result<String> {
        let mut text = self.head()?;
        self.gate_tables(&mut text)?;
        self.method_tables(&mut text)?;
        self.pools(&mut text);
        Ok(text)
    }

    fn head(&self) -> Result<String> {
        let wrong = self.too_many_passes()?;
        let level = if wrong.is_empty() {
            "in no cell of equal arms do false passes exceed 5 % by more than chance (all cells together, at 5 %)"
                .to_owned()
        } else {
            format!("**false passes exceed 5 % in: {}**", wrong.join("; "))
        };
        let lead = match self.largest_lead()? {
            Some((lead, place)) if lead > 0.0 => {
                format!(
                    "no method for means that keeps its level finds more than {:.1} points more ({place})",
                    100.0 * lead
                )
            }
            _ => "no method for means that keeps its level finds more".to_owned(),
        };
        let mut valid = Vec::new();
        for (place, runs) in ONE_LOOK.iter().enumerate() {
            let names: Vec<String> =
                self.valid_methods(place)?.iter().map(|method| method.name().replace("**", "")).collect();
            valid.push(format!("{runs}: {}", names.join(", ")));
        }
        Ok(format!(
            "{HEAD}\nMade data: {} repetitions of each cell; real runs: {}.\n\n\
             - **Level**: {level}.\n- **Power**: {lead}.\n- **Methods for means that keep their level**, by runs an arm: {}.\n{DEFAULTS}",
            self.plan.made,
            self.plan.real,
            valid.join("; "),
        ))
    }

    fn gate_tables(&self, text: &mut String) -> Result<()> {
        text.push_str(GATE);
        let sizes: Vec<String> = ONE_LOOK.iter().map(|runs| format!("n = {runs}")).collect();
        let tables: [(&str, Column); 3] = [
            ("False passes, % (95 % interval)", |counts| counts.passed),
            ("False fails, %", |counts| counts.failed),
            ("Undecided, and coverage of the last interval printed, %", |counts| counts.covered),
        ];
        for (title, of) in tables {
            let _ = write!(text, "\n### {title}\n\n| data | {} | ten looks |\n", sizes.join(" | "));
            text.push_str("|---|---:|---:|---:|---:|---:|\n");
            for row in &self.rows {
                let mut cells = Vec::new();
                for (gates, _) in &row.one_look {
                    cells.push(shown(of(&gates[0]))?);
                }
                cells.push(shown(of(&row.ten_looks[0]))?);
                let _ = writeln!(text, "| {} | {} |", row.world.name, cells.join(" | "));
            }
        }
        let effects: Vec<String> = ONE_LOOK
            .iter()
            .zip(&self.effects)
            .map(|(runs, effect)| format!("n = {runs}, {effect:.2} sd"))
            .collect();
        let _ = write!(
            text,
            "\n### Power, %\n\nThe effect is the one that a t test on normal data finds four times in five with so many runs.\n\n\
             | data | {} | ten looks, {:.2} sd | runs an arm used |\n|---|---:|---:|---:|---:|---:|---:|\n",
            effects.join(" | "),
            self.looks_effect
        );
        for row in &self.rows {
            let mut cells = Vec::new();
            for (gates, _) in &row.one_look {
                cells.push(shown(gates[1].passed)?);
            }
            let looks = &row.ten_looks[1];
            cells.push(shown(looks.passed)?);
            cells.push(format!("{:.1}", looks.runs as f64 / looks.passed.trials as f64));
            let _ = writeln!(text, "| {} | {} |", row.world.name, cells.join(" | "));
        }
        Ok(())
    }

    fn method_tables(&self, text: &mut String) -> Result<()> {
        text.push_str(METHODS);
        let names: Vec<&str> = self.rows.iter().map(|row| row.world.name.as_str()).collect();
        let rule = "---:|".repeat(names.len());
        for (place, runs) in ONE_LOOK.iter().enumerate() {
            let effect = self.effects[place];
            let _ =
                write!(text, "\n### {runs} runs an arm\n\n| method | {} |\n|---|{rule}\n", names.join(" | "));
            for method in Method::ALL {
                // Fewer than five values leave nothing to trim.
                if method == Method::Yuen && *runs < 5 {
                    continue;
                }
                let mut cells = Vec::new();
                for row in &self.rows {
                    let found = row.one_look[place].1.iter().find(|(of, _)| *of == method);
                    let Some((_, counts)) = found else { continue };
                    let percent = |share: Share| format!("{:.1}", 100.0 * share.value());
                    let covered = counts.covered.map_or("–".to_owned(), percent);
                    cells.push(format!("{} / {} / {covered}", percent(counts.wrong), percent(counts.found)));
                }
                let _ = writeln!(text, "| {} | {} |", method.name(), cells.join(" | "));
            }
            let _ =
                writeln!(text, "\nFalse passes / power at {effect:.2} sd / coverage of the 90 % interval.");
        }
        Ok(())
    }

    fn pools(&self, text: &mut String) {
        text.push_str(REAL);
        for row in &self.rows {
            let Source::Real(pools) = &row.world.source else { continue };
            let runs: usize = pools.iter().map(|pool| pool.count()).sum();
            let names: Vec<String> =
                pools.iter().map(|pool| format!("{} ({})", pool.name, pool.count())).collect();
            let _ = writeln!(
                text,
                "- **{}**: {runs} runs in {} pools: {}",
                row.world.name,
                pools.len(),
                names.join(", ")
            );
        }
        if !self.rows.iter().any(|row| matches!(row.world.source, Source::Real(_))) {
            text.push_str("None: the shared data was not there.\n");
        }
    }
}

const HEAD: &str = "\
# Calibration of the gate

How often the gate passes what is no better, and how often it finds what is. Written by

    cargo run --release -p calibration -- docs/calibration.md

2026-11-22. The numbers follow from a fixed seed: the same on every machine and any number of threads.
";

const DEFAULTS: &str = "
Why the defaults are what they are:

- **Welch's t decides at every number of runs.** It keeps its level on every shape below from three runs on, where
  percentile and BCa bootstraps pass up to three times as many useless candidates as they claim. Student's t and the
  permutation test find three to six points more at three runs, but there both pass 7 % where the spreads differ; from
  five runs on the three are within five points of each other.
- **Bootstraps are printed, and decide nothing.** Percentile and BCa intervals are too narrow at twenty runs still;
  bootstrap-t holds on normal data, and passes 7 to 8 % on skewed data and on real runs with a long tail, even at twenty.
- **Ranks and trimmed means answer another question.** On skewed data and heavy tails they find far more, for a candidate
  that is the baseline moved by a constant, as it is here. They do not speak of means: where spreads or shapes differ they
  reject equal ones. They are there on request.
- **Skewed and heavy-tailed data cost the level nothing**: two arms of one shape cancel their skew, and the test is on the
  safe side.
- **Ten looks cost little**: alpha is spent over them, the level holds, and a clear effect ends the comparison early. With
  unequal spreads the small first looks make it 0.6 points too many, as one look at three runs does 0.4.
";

const GATE: &str = "
## The gate

Default settings: Welch's t, one-sided level 5 %, at least three runs an arm. Every repetition draws both arms and asks the
whole gate, its rules for failed runs, permutation test and bootstrap included.

*Ten looks*: `look_sizes = [3, 4, 5, 6, 8, 10, 12, 14, 17, 20]`. Alpha is spent as Lan and DeMets do with Pocock's function, and
a gate that does not decide is asked again with the runs of the next look.

*Unequal spread* is not one recipe twice: means are equal, but the candidate varies three times as much. It shows which methods
rest on equal spreads.

Without a difference a gate for `better` passes when its interval lies above 0 and fails when it lies below. What is neither
holds the truth and is undecided: one table for both, 90 % by design. Bounds move with the data, so that coverage is the same
at any effect.
";

const METHODS: &str = "
## Methods side by side

The same repetitions and the same one-sided level of 5 % for each method. A method that is not defined for a repetition (a
constant arm) says nothing in it. 9,999 resamples.
";

const REAL: &str = "
## Real runs

Final values of runs that differ in their seed alone: the last validation loss (modded-nanogpt), seconds to train as a share of
their configuration's mean (MLPerf), the mean of the last tenth of the score curve (DreamerV3 and baselines), the last
validation result (AlgoPerf: the same hyperparameters in five studies are five seeds). A configuration of twenty runs or more
is a pool by itself. The runs of smaller ones (from three runs on) of one task are taken less their configuration's mean, times
sqrt(k / (k - 1)), and make one pool. Both arms are drawn from one pool, the pools in turn: no run twice while the pool has
enough, else with replacement. Pools below twenty runs are left out.

";
