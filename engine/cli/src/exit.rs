//! Exit codes, in one place.

use runlake::Error;
use runlake::query::QueryError;
use server::StartError;
use server::client::ClientError;

/// Done, or the gate passed.
pub(crate) const DONE: u8 = 0;
/// What was compared is not the same.
pub(crate) const DIFFERS: u8 = 1;
/// Wrong usage, configuration or policy.
pub(crate) const USAGE: u8 = 2;
/// Storage, network or internal failure.
pub(crate) const INTERNAL: u8 = 4;
/// Nothing matched.
pub(crate) const NOTHING: u8 = 5;
/// Done, but some input was rejected.
pub(crate) const REJECTED: u8 = 6;

/// A mistake in what the user wrote, found by the command itself.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The exit code that an error ends the command with.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<UsageError>().is_some() {
        return USAGE;
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return code_of_client(error);
    }
    if let Some(StartError::Config { .. } | StartError::NotLoopback { .. }) =
        error.downcast_ref::<StartError>()
    {
        return USAGE;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Query(error)) => code_of_query(error),
        Some(
            Error::Location(_)
            | Error::Selector { .. }
            | Error::Model(_)
            | Error::Baseline { .. }
            | Error::GateRun { .. }
            | Error::Analysis(_)
            | Error::Memory { .. }
            | Error::AmbiguousContext { .. }
            | Error::Receipt { .. },
        ) => USAGE,
        Some(Error::Import(runlake::importers::ImportError::NothingRecognised { .. })) => NOTHING,
        Some(Error::Import(runlake::importers::ImportError::NothingReadable { .. })) => REJECTED,
        Some(Error::Import(runlake::importers::ImportError::Mapping { .. })) => USAGE,
        Some(Error::Export(
            runlake::exporters::ExportError::Target { .. } | runlake::exporters::ExportError::Options { .. },
        )) => USAGE,
        Some(Error::Store(
            runlake::store::StoreError::NoLake { .. }
            | runlake::store::StoreError::Location(_)
            | runlake::store::StoreError::Registry(_),
        )) => USAGE,
        _ => INTERNAL,
    }
}

fn code_of_query(error: &QueryError) -> u8 {
    match error {
        QueryError::Memory { .. }
        | QueryError::Spill { .. }
        | QueryError::Busy { .. }
        | QueryError::Cancelled { .. }
        | QueryError::Time { .. }
        | QueryError::Execution(_)
        | QueryError::Storage { .. }
        | QueryError::Internal { .. } => INTERNAL,
        _ => USAGE,
    }
}

fn code_of_client(error: &ClientError) -> u8 {
    match error {
        ClientError::Url { .. } | ClientError::NotOnTheWire { .. } => USAGE,
        // What the server refuses with a reason and without a hint to try again is the user's to mend.
        ClientError::Remote(remote) if remote.is_mistake() => USAGE,
        _ => INTERNAL,
    }
}

/// Whether there is no lake yet.
pub(crate) fn is_no_lake(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Store(runlake::store::StoreError::NoLake { .. })))
}

/// Whether the reader of our output went away, as `head` does: no error for a command in a pipe.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// What went wrong with its causes; a cause that the text before it names already is not told twice.
pub(crate) fn message(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        text
    })
}

/// Tells a fault of ours in one line, without a backtrace. `println!` panics when the reader of a pipe goes away, as
/// `head` does; that is the end of the command and no fault.
pub(crate) fn report_panic(info: &std::panic::PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("no message");
    if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
        std::process::exit(i32::from(DONE));
    }
    let place =
        info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    eprintln!("runlake: internal error: {text}{place}; please report this");
}
