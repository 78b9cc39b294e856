//! Experiments: which runs they hold, which params their runs have, and which of them are swept.

use std::sync::Arc;

use crate::catalogue::{self, ALWAYS, Domain, EFFECTIVE, NULL};
use crate::config::CorpusConfig;
use crate::stream::{Purpose, Stream};

/// Runs of an experiment come in blocks that hold one configuration of each number of seeds from 1 to 8.
const BLOCK: u64 = 36;
const MOST_SEEDS: u64 = 8;

/// One experiment and the settings that all its runs share.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) name: Arc<str>,
    pub(crate) project: Arc<str>,
    pub(crate) owner: &'static str,
    pub(crate) team: &'static str,
    /// Final loss of the reference configuration.
    pub(crate) base_loss: f64,
    /// Index of its first run in the corpus.
    pub(crate) first: u64,
    pub(crate) runs: u64,
    /// Params that every run has, in the order of their keys: the constant value, or where to draw it from.
    params: Vec<(&'static str, Value)>,
    /// When its first run may start, in ms after the corpus's first start, and for how long runs keep starting.
    pub(crate) opens_ms: u64,
    pub(crate) open_for_ms: u64,
}

#[derive(Debug)]
enum Value {
    Constant(String),
    Swept(Domain),
}

/// A run's place among the configurations of its experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the configuration within the experiment.
    pub(crate) configuration: u64,
    /// 0 for the configuration's first seed.
    pub(crate) seed: u64,
}

const DAY_MS: u64 = 86_400_000;

impl Experiment {
    fn new(config: &CorpusConfig, number: u32, first: u64, runs: u64) -> Self {
        let mut stream = Stream::new(config.seed, Purpose::Experiment, number.into());
        let project = number % config.projects;
        let area = catalogue::AREAS[project as usize % catalogue::AREAS.len()];
        let theme = stream.pick(&catalogue::THEMES);

        let wanted = stream.between(20, 59) as usize;
        let mut more: Vec<(&'static str, Domain)> = NULL[2..].to_vec();
        stream.shuffle(&mut more);
        more.truncate(wanted - ALWAYS);
        more.extend(&NULL[..2]);

        // Sweeps: 3 to 11 keys, of which about half have an effect. One of them has thousands of values, so that
        // two configurations are hardly ever equal by chance.
        let mut swept = Vec::new();
        let wanted_sweeps = stream.between(3, 11) as usize;
        let mut effective: Vec<&'static str> = EFFECTIVE.iter().map(|(key, _)| *key).collect();
        stream.shuffle(&mut effective);
        let always = if stream.chance(0.9) { catalogue::LEARNING_RATE } else { catalogue::WEIGHT_DECAY };
        effective.sort_by_key(|key| *key != always);
        swept.extend(&effective[..wanted_sweeps.div_ceil(2)]);
        swept.extend(more.iter().take(wanted_sweeps - swept.len()).map(|(key, _)| *key));

        let mut params: Vec<(&'static str, Value)> = EFFECTIVE
            .iter()
            .chain(&more)
            .map(|&(key, domain)| {
                let constant = domain.draw(&mut stream);
                (key, if swept.contains(&key) { Value::Swept(domain) } else { Value::Constant(constant) })
            })
            .collect();
        params.sort_by_key(|(key, _)| *key);

        let days = u64::from(config.days);
        let open_days = stream.between(1, days.min(60));
        Self {
            name: format!("{theme}-{number:04}").into(),
            project: format!("{area}-{project:02}").into(),
            owner: *stream.pick(&catalogue::USERS),
            team: *stream.pick(&catalogue::TEAMS),
            base_loss: 0.5 + 2.5 * stream.uniform(),
            first,
            runs,
            params,
            opens_ms: stream.below((days - open_days) * DAY_MS + 1),
            open_for_ms: open_days * DAY_MS,
        }
    }

    /// The params of a configuration, the seed excepted, in the order of their keys.
    pub(crate) fn params(&self, stream: &mut Stream) -> Vec<(&'static str, String)> {
        let value = |value: &Value, stream: &mut Stream| match value {
            Value::Constant(text) => text.clone(),
            Value::Swept(domain) => domain.draw(stream),
        };
        self.params.iter().map(|(key, drawn)| (*key, value(drawn, stream))).collect()
    }

    /// Which configuration and seed the `slot`-th run of the experiment has.
    pub(crate) fn place(&self, slot: u64) -> Place {
        let (block, mut left) = (slot / BLOCK, slot % BLOCK);
        // A fixed order of group sizes that differs from block to block; 1 to 8 in steps coprime to 9.
        const STEPS: [u64; 6] = [1, 2, 4, 5, 7, 8];
        let step = STEPS[(block % STEPS.len() as u64) as usize];
        for group in 0..MOST_SEEDS {
            let size = (group + 1) * step % (MOST_SEEDS + 1);
            if left < size {
                return Place { configuration: block * MOST_SEEDS + group, seed: left };
            }
            left -= size;
        }
        unreachable!("the sizes 1 to 8 add up to a block")
    }
}

/// All experiments of a corpus, with sizes that fall off as a power of their number.
pub(crate) fn all(config: &CorpusConfig) -> Vec<Experiment> {
    let count = u64::from(config.experiments);
    let weights: Vec<f64> = (0..count).map(|number| libm::pow(number as f64 + 4.0, -0.8)).collect();
    let total: f64 = weights.iter().sum();
    let spare = config.runs - count;
    let mut sizes: Vec<u64> =
        weights.iter().map(|weight| 1 + (spare as f64 * weight / total) as u64).collect();
    // What rounding down (or, in the last place, the sum's own rounding) left over or took too much.
    let mut given: u64 = sizes.iter().sum();
    for place in (0..sizes.len()).cycle() {
        match given.cmp(&config.runs) {
            std::cmp::Ordering::Less => {
                sizes[place] += 1;
                given += 1;
            }
            std::cmp::Ordering::Greater if sizes[place] > 1 => {
                sizes[place] -= 1;
                given -= 1;
            }
            std::cmp::Ordering::Greater => {}
            std::cmp::Ordering::Equal => break,
        }
    }
    let mut first = 0;
    let numbered = sizes.into_iter().zip(0..);
    numbered
        .map(|(runs, number)| {
            let experiment = Experiment::new(config, number, first, runs);
            first += runs;
            experiment
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_run_belongs_to_one_experiment() {
        for config in [CorpusConfig::tiny(), CorpusConfig::small(), CorpusConfig::registry()] {
            let experiments = all(&config);
            assert_eq!(experiments.len(), config.experiments as usize);
            let mut next = 0;
            for experiment in &experiments {
                assert_eq!(experiment.first, next);
                assert!(experiment.runs >= 1);
                next += experiment.runs;
            }
            assert_eq!(next, config.runs);
        }
    }

    #[test]
    fn a_block_has_each_number_of_seeds_once() {
        let experiment = &all(&CorpusConfig::small())[0];
        for block in 0..12 {
            let mut sizes = BTreeMap::new();
            for slot in block * BLOCK..(block + 1) * BLOCK {
                *sizes.entry(experiment.place(slot).configuration).or_insert(0_u64) += 1;
            }
            let mut sizes: Vec<u64> = sizes.into_values().collect();
            sizes.sort_unstable();
            assert_eq!(sizes, [1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }
}
