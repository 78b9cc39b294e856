//! `runlake note`.

use clap::Args;
use model::{Command, ExperimentName, Note, ProjectName};

use crate::arguments::Place;
use crate::{access, decide, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake note --experiment augmentation \"shifts of two pixels; four were too many\"\n  runlake note --run 0190a5d96e07f2c8b1a6e0f5d3c2b1a0 \"the node had a slow disk\""
)]
pub(crate) struct NoteArguments {
    /// The text
    text: String,
    /// The experiment that the note is on
    #[arg(long, conflicts_with = "run", required_unless_present = "run")]
    experiment: Option<String>,
    /// The run that the note is on
    #[arg(long)]
    run: Option<String>,
    /// The project
    #[arg(long, default_value = "default")]
    project: String,
    /// Who writes
    #[arg(long, env = "USER")]
    author: Option<String>,
}

pub(crate) async fn run(place: &Place, arguments: NoteArguments) -> anyhow::Result<u8> {
    let note = note(arguments).map_err(runlake::Error::from)?;
    decide::apply(place, vec![Command::AddNote(note)], "runlake note").await?;
    println!("noted");
    Ok(exit::DONE)
}

fn note(arguments: NoteArguments) -> Result<Note, model::ModelError> {
    Ok(Note {
        project: ProjectName::new(&arguments.project)?,
        experiment: arguments.experiment.as_ref().map(ExperimentName::new).transpose()?,
        run: arguments.run.as_deref().map(str::parse).transpose()?,
        text: arguments.text,
        author: arguments.author,
        time: access::now_micros(),
    })
}
