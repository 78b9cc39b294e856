//! The params, tags and names that synthetic runs draw from.

use crate::stream::Stream;

/// The values a param can take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Domain {
    /// Powers of ten between the two exponents, kept to four significant digits.
    LogUniform(f64, f64),
    /// One of these numbers.
    Numbers(&'static [f64]),
    /// One of these words.
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
}

impl Domain {
    /// A value as its text.
    pub(crate) fn draw(self, stream: &mut Stream) -> String {
        match self {
            Self::LogUniform(low, high) => {
                let exponent = low + (high - low) * stream.uniform();
                let decade = libm::floor(exponent);
                let digits = libm::round(libm::pow(10.0, exponent - decade) * 1000.0);
                // Through text, so that 3.162e-4 is the nearest double and not a product with a rounding error.
                let text = format!("{digits}e{}", decade as i32 - 3);
                text.parse::<f64>().map_or(text, |value| value.to_string())
            }
            Self::Numbers(numbers) => stream.pick(numbers).to_string(),
            Self::Words(words) => (*stream.pick(words)).to_owned(),
            Self::Switch => stream.chance(0.5).to_string(),
        }
    }
}

pub(crate) const LEARNING_RATE: &str = "optimizer.lr";
pub(crate) const OPTIMIZER: &str = "optimizer.name";
pub(crate) const WEIGHT_DECAY: &str = "optimizer.weight_decay";
pub(crate) const BATCH_SIZE: &str = "train.batch_size";
pub(crate) const DEPTH: &str = "model.depth";
pub(crate) const DROPOUT: &str = "model.dropout";
pub(crate) const SEED: &str = "train.seed";

/// Params of every run that have an effect on the final loss (see `effects`).
pub(crate) const EFFECTIVE: [(&str, Domain); 6] = [
    (LEARNING_RATE, Domain::LogUniform(-5.0, -1.0)),
    (OPTIMIZER, Domain::Words(&["adamw", "lion", "adam", "sgd", "rmsprop"])),
    (WEIGHT_DECAY, Domain::LogUniform(-5.0, -1.0)),
    (BATCH_SIZE, Domain::Numbers(&[16.0, 32.0, 64.0, 128.0, 256.0, 512.0])),
    (DEPTH, Domain::Numbers(&[2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0])),
    (DROPOUT, Domain::Numbers(&[0.0, 0.05, 0.1, 0.2, 0.3, 0.5])),
];

/// Params without any effect: the first two belong to every run, an experiment picks some of the others.
pub(crate) const NULL: [(&str, Domain); 56] = [
    (
        "data.dataset",
        Domain::Words(&[
            "ds-01", "ds-02", "ds-03", "ds-04", "ds-05", "ds-06", "ds-07", "ds-08", "ds-09", "ds-10",
            "ds-11", "ds-12",
        ]),
    ),
    ("model.name", Domain::Words(&["transformer", "convnet", "mixer", "rnn"])),
    ("data.augment", Domain::Words(&["none", "light", "heavy"])),
    ("data.cache", Domain::Switch),
    ("data.drop_last", Domain::Switch),
    ("data.max_length", Domain::Numbers(&[128.0, 256.0, 512.0, 1024.0])),
    ("data.num_workers", Domain::Numbers(&[0.0, 2.0, 4.0, 8.0, 16.0])),
    ("data.pin_memory", Domain::Switch),
    ("data.prefetch", Domain::Numbers(&[1.0, 2.0, 4.0, 8.0])),
    ("data.shuffle_buffer", Domain::Numbers(&[1000.0, 10000.0, 100000.0])),
    ("data.tokenizer", Domain::Words(&["bpe-32k", "bpe-50k", "unigram-32k"])),
    ("data.version", Domain::Words(&["2024-11", "2025-02", "2025-06"])),
    ("env.compile", Domain::Switch),
    ("env.cuda", Domain::Words(&["12.4", "12.6", "12.8"])),
    ("env.deterministic", Domain::Switch),
    ("env.image", Domain::Words(&["train:1.8", "train:1.9", "train:2.0"])),
    ("env.nodes", Domain::Numbers(&[1.0, 2.0, 4.0])),
    ("env.python", Domain::Words(&["3.10", "3.11", "3.12"])),
    ("eval.batch_size", Domain::Numbers(&[64.0, 256.0, 1024.0])),
    ("eval.every", Domain::Numbers(&[10.0, 20.0, 50.0])),
    ("eval.metric", Domain::Words(&["loss", "acc"])),
    ("eval.samples", Domain::Numbers(&[1000.0, 5000.0, 10000.0])),
    ("log.every", Domain::Numbers(&[1.0, 10.0, 50.0])),
    ("log.gradients", Domain::Switch),
    ("log.level", Domain::Words(&["info", "debug"])),
    ("model.activation", Domain::Words(&["gelu", "silu", "relu"])),
    ("model.bias", Domain::Switch),
    ("model.checkpointing", Domain::Switch),
    ("model.embed_scale", Domain::LogUniform(-2.0, 0.0)),
    ("model.head_dim", Domain::Numbers(&[32.0, 64.0, 128.0])),
    ("model.init", Domain::Words(&["normal", "xavier", "mup"])),
    ("model.init_std", Domain::LogUniform(-3.0, -1.0)),
    ("model.norm", Domain::Words(&["layer", "rms"])),
    ("model.norm_eps", Domain::LogUniform(-8.0, -5.0)),
    ("model.positions", Domain::Words(&["rotary", "learned", "alibi"])),
    ("model.tie_embeddings", Domain::Switch),
    ("model.vocabulary", Domain::Numbers(&[32000.0, 50304.0, 65536.0])),
    ("model.width", Domain::Numbers(&[128.0, 256.0, 512.0, 1024.0])),
    ("optimizer.beta1", Domain::Numbers(&[0.9, 0.95])),
    ("optimizer.beta2", Domain::Numbers(&[0.95, 0.98, 0.999])),
    ("optimizer.clip", Domain::Numbers(&[0.5, 1.0, 5.0])),
    ("optimizer.eps", Domain::LogUniform(-9.0, -6.0)),
    ("optimizer.fused", Domain::Switch),
    ("schedule.decay", Domain::Words(&["cosine", "linear", "constant"])),
    ("schedule.final_ratio", Domain::Numbers(&[0.0, 0.01, 0.1])),
    ("schedule.warmup_steps", Domain::Numbers(&[0.0, 100.0, 500.0, 2000.0])),
    ("train.accumulate", Domain::Numbers(&[1.0, 2.0, 4.0])),
    ("train.bucket_mb", Domain::Numbers(&[25.0, 50.0, 100.0])),
    ("train.checkpoint_every", Domain::Numbers(&[500.0, 1000.0, 5000.0])),
    ("train.ema_decay", Domain::Numbers(&[0.0, 0.999, 0.9999])),
    ("train.keep_checkpoints", Domain::Numbers(&[1.0, 3.0, 10.0])),
    ("train.label_smoothing", Domain::Numbers(&[0.0, 0.05, 0.1])),
    ("train.precision", Domain::Words(&["bf16", "fp16", "fp32"])),
    ("train.profile", Domain::Switch),
    ("train.strategy", Domain::Words(&["ddp", "fsdp", "single"])),
    ("train.timeout_hours", Domain::Numbers(&[4.0, 12.0, 24.0, 72.0])),
];

/// Params of every run: those with an effect, two of `NULL` and the seed.
pub(crate) const ALWAYS: usize = EFFECTIVE.len() + 2 + 1;

pub(crate) const THEMES: [&str; 8] = [
    "lr-sweep",
    "ablation",
    "scaling",
    "augmentation",
    "optimizers",
    "regularisation",
    "long-context",
    "distillation",
];
pub(crate) const AREAS: [&str; 8] =
    ["vision", "speech", "ranking", "search", "translation", "robotics", "forecast", "chat"];
pub(crate) const TEAMS: [&str; 6] = ["nlp", "vision", "rl", "speech", "recsys", "infra"];
pub(crate) const USERS: [&str; 24] = [
    "ada",
    "alan",
    "barbara",
    "claude",
    "dorothy",
    "edsger",
    "emmy",
    "frances",
    "grace",
    "hedy",
    "ivan",
    "joan",
    "john",
    "katherine",
    "leslie",
    "lotfi",
    "mary",
    "niklaus",
    "radia",
    "rosalind",
    "shafi",
    "sophie",
    "tony",
    "yoshi",
];
pub(crate) const STAGES: [&str; 4] = ["dev", "test", "release", "prod"];
pub(crate) const GPU_TYPES: [&str; 5] = ["h100", "a100", "l40s", "v100", "mi300"];
/// Tags that only some runs have; every run has `team`, `stage`, `gpu_type` and `owner`.
pub(crate) const MORE_TAGS: [(&str, &[&str]); 4] = [
    ("priority", &["low", "normal", "high"]),
    ("cost_center", &["1010", "1020", "2040"]),
    ("region", &["eu-west", "us-east", "ap-south"]),
    ("queue", &["batch", "interactive", "spot"]),
];

pub(crate) const TRAIN_KEYS: [&str; 12] = [
    "train/loss",
    "train/lr",
    "train/grad_norm",
    "train/acc",
    "train/tokens",
    "train/tokens_per_second",
    "train/aux_loss",
    "train/param_norm",
    "train/entropy",
    "train/update_norm",
    "train/z_loss",
    "train/step_seconds",
];
pub(crate) const EVAL_KEYS: [&str; 8] = [
    "val/loss",
    "val/acc",
    "val/perplexity",
    "test/loss",
    "test/acc",
    "val/f1",
    "val/calibration_error",
    "test/perplexity",
];
pub(crate) const GPU_KEYS: [&str; 4] = ["util", "memory_gb", "temperature_c", "power_w"];
pub(crate) const HOST_KEYS: [&str; 4] =
    ["system/cpu.util", "system/memory_gb", "system/disk.util", "system/network.sent_mb"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Purpose;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_distinct() {
        let keys: Vec<&str> = EFFECTIVE.iter().chain(&NULL).map(|(key, _)| *key).chain([SEED]).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert!(keys.len() >= 59, "an experiment may want 59 params");
    }

    #[test]
    fn log_uniform_keeps_four_digits_and_its_bounds() {
        let mut stream = Stream::new(1, Purpose::Run, 0);
        for _ in 0..2000 {
            let text = Domain::LogUniform(-5.0, -1.0).draw(&mut stream);
            let value: f64 = text.parse().unwrap();
            assert!((1e-5..=1e-1).contains(&value), "{text}");
            assert_eq!(format!("{value:.3e}").parse::<f64>().unwrap(), value, "{text}");
        }
    }
}
