//! Names of folders for runs: readable, safe on any file system, each once.

use std::collections::HashSet;
use std::path::PathBuf;

use model::RunId;

/// Longest part of a path, in bytes.
const LONGEST: usize = 120;

/// The names that were given away.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// A folder for a run below its experiment: by its name, and by its id too where another run has the name.
    pub(crate) fn of(&mut self, experiment: &str, name: &str, run: RunId) -> PathBuf {
        let experiment = safe(experiment);
        let plain = safe(name);
        // Some file systems do not tell cases apart.
        let key = |name: &str| format!("{experiment}/{name}").to_lowercase();
        let name = if !name.is_empty() && self.taken.insert(key(&plain)) {
            plain
        } else {
            let with_id = format!("{plain}-{run}");
            self.taken.insert(key(&with_id));
            with_id
        };
        PathBuf::from(experiment).join(name)
    }
}

/// A text as one part of a path.
fn safe(text: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '=' | '+' | ',' | '@');
    let mut out = String::new();
    for character in text.chars().map(|c| if allowed(c) { c } else { '_' }) {
        if out.len() + character.len_utf8() > LONGEST {
            break;
        }
        out.push(character);
    }
    // A name of dots is another folder, one that begins with a dot is hidden, one that ends with it is lost on Windows.
    let trimmed = out.trim_matches('.');
    if trimmed.is_empty() { "run".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_apart() {
        let mut names = Names::default();
        let mut of = |name: &str, id: u128| {
            names.of("exp/1", name, RunId::from_u128(id)).to_string_lossy().into_owned()
        };
        assert_eq!(of("lr=0.1", 1), "exp_1/lr=0.1");
        assert_eq!(of("LR=0.1", 2), format!("exp_1/LR=0.1-{:032x}", 2));
        assert_eq!(of("..", 3), "exp_1/run");
        assert_eq!(of("../../etc", 4), "exp_1/_.._etc");
        assert_eq!(of("", 5), format!("exp_1/run-{:032x}", 5));
        assert!(of(&"é".repeat(500), 6).len() < 140);
    }
}
