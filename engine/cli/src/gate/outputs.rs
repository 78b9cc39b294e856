//! A verdict in the forms that people and tools read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use runlake::GateOutcome;
use runlake::analysis::{ChainStep, Colour};
use serde_json::Value;

use crate::exit::UsageError;

/// A form of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// Short, for a terminal
    #[value(alias = "table")]
    Text,
    /// Every number, parameter and run id, with a schema_version
    Json,
    /// JUnit XML, one test case a metric
    Junit,
    /// SARIF 2.1.0, one result a metric
    Sarif,
    /// For a job summary or a comment
    Markdown,
    /// Workflow commands of GitHub
    Annotations,
    /// A picture of the intervals
    Svg,
    /// The same in pixels
    Png,
}

/// A file that gets a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    format: OutputFormat,
    file: PathBuf,
}

impl Output {
    /// Parses `FORMAT=FILE`.
    pub(super) fn parse(text: &str) -> Result<Self, UsageError> {
        let known: Vec<String> = OutputFormat::value_variants()
            .iter()
            .filter_map(|format| Some(format.to_possible_value()?.get_name().to_owned()))
            .collect();
        let wrong = || {
            let known = known.join(", ");
            UsageError(format!(
                "--output {text:?}: write FORMAT=FILE, such as junit=gate.xml; formats are {known}"
            ))
        };
        let (format, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(wrong)?;
        let format = OutputFormat::from_str(format, true).map_err(|_| wrong())?;
        Ok(Self { format, file: PathBuf::from(file) })
    }
}

/// A verdict that is to be shown.
pub(super) struct Shown<'a> {
    pub(super) outcome: &'a GateOutcome,
    /// The file that its policy stands in; `None` when the command line said it.
    pub(super) policy_file: Option<&'a Path>,
}

impl Shown<'_> {
    /// The verdict in a form; text ends with a line end.
    pub(super) fn bytes_of(&self, format: OutputFormat, colour: bool) -> anyhow::Result<Vec<u8>> {
        let report = &self.outcome.report;
        let mut text = match format {
            OutputFormat::Png => return Ok(report.to_png().map_err(runlake::Error::from)?),
            OutputFormat::Text => self.for_terminal(colour),
            OutputFormat::Json => serde_json::to_string_pretty(&self.json()?)?,
            OutputFormat::Junit => report.to_junit(),
            OutputFormat::Sarif => {
                let file =
                    self.policy_file.map_or("runlake.toml".to_owned(), |file| file.display().to_string());
                serde_json::to_string_pretty(&report.to_sarif(&file))?
            }
            OutputFormat::Markdown => report.to_markdown(),
            OutputFormat::Annotations => report.to_annotations(),
            OutputFormat::Svg => report.to_svg(),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text.into_bytes())
    }

    /// Writes the verdict into a file, whole or not at all.
    pub(super) fn write(&self, output: &Output) -> anyhow::Result<()> {
        let bytes = self.bytes_of(output.format, false)?;
        let shown = output.file.display();
        let folder = output.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder of {shown}"))?;
        // A device or a pipe cannot be replaced.
        if output.file.exists() && !output.file.is_file() {
            return std::fs::write(&output.file, bytes).with_context(|| format!("cannot write {shown}"));
        }
        let mut file =
            tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write {shown}"))?;
        file.write_all(&bytes).with_context(|| format!("cannot write {shown}"))?;
        make_readable(file.as_file()).with_context(|| format!("cannot write {shown}"))?;
        file.persist(&output.file).with_context(|| format!("cannot write {shown}"))?;
        Ok(())
    }

    fn for_terminal(&self, colour: bool) -> String {
        let report = &self.outcome.report;
        let colour = if colour { Colour::Ansi } else { Colour::Never };
        let mut text = match self.outcome.single().filter(|_| self.policy_file.is_none()) {
            Some(single) => {
                // The text of a metric by itself does not know what stands against it as a whole.
                let reason = report.reason.filter(|_| report.verdict != report.metrics[0].report.verdict);
                let reason = reason.map(|reason| format!("\n  reason: {reason}")).unwrap_or_default();
                format!("{}{reason}{}", single.to_text(), report.circumstances_text())
            }
            None => report.to_text(colour),
        };
        let mut steps = self.outcome.chain.iter();
        if let (Some(first), Some(last)) = (steps.next(), steps.next_back()) {
            text.push_str(&format!("\n  since {}: {}", first.name, gained(last)));
        }
        text
    }

    /// The report of the only metric where the command line asked for one, else of the whole policy.
    fn json(&self) -> anyhow::Result<Value> {
        let report = &self.outcome.report;
        let mut json = match self.outcome.single().filter(|_| self.policy_file.is_none()) {
            Some(single) => {
                let mut json = serde_json::to_value(&single)?;
                json["next_step"] = serde_json::to_value(&report.next_step)?;
                json["circumstances"] = serde_json::to_value(&report.circumstances)?;
                json["staleness"] = serde_json::to_value(&report.policy.staleness)?;
                if let Some(warnings) = json["warnings"].as_array_mut() {
                    for warning in &report.warnings {
                        warnings.push(serde_json::to_value(warning)?);
                    }
                }
                json
            }
            None => serde_json::to_value(report)?,
        };
        if !self.outcome.chain.is_empty() {
            json["chain"] = serde_json::to_value(&self.outcome.chain)?;
        }
        Ok(json)
    }
}

/// What a version of a baseline, or the candidate, gained over the first version.
pub(crate) fn gained(step: &ChainStep) -> String {
    match step.interval {
        Some([low, high]) => format!("{:+.4} ({low:+.4} to {high:+.4})", step.total),
        None => format!("{:+.4} (no interval: no spread)", step.total),
    }
}

/// A file for others to read: temporary files are made for their owner alone.
#[cfg(unix)]
fn make_readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_file: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_a_format_and_a_file() {
        let output = Output::parse("junit=out/a=b.xml").unwrap();
        assert_eq!((output.format, output.file.to_str()), (OutputFormat::Junit, Some("out/a=b.xml")));
        for wrong in ["junit", "junit=", "xml=a", "=a"] {
            let message = Output::parse(wrong).unwrap_err().to_string();
            assert!(message.contains("sarif") && message.contains("FORMAT=FILE"), "{message}");
        }
    }
}
