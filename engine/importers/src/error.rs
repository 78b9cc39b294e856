//! What can stop an import, or a part of it.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// The result of an operation of this crate.
pub type Result<T, E = ImportError> = std::result::Result<T, E>;

/// An error that the caller's [`Sink`](crate::Sink) returned. It ends the import at once.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct SinkError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

impl SinkError {
    /// Wraps any error, or a text.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Something could not be imported: which file, why, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The path does not exist or may not be read.
    #[error("{path}: {action} failed: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A link, device, pipe or socket, which is never opened.
    #[error("{path}: is {what}; only regular files are read", path = path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What stands there.
        what: &'static str,
    },
    /// Nothing at the path is of a kind that can be imported.
    #[error("{path}: nothing to import was recognised; {hint}", path = path.display())]
    NothingRecognised {
        /// The path.
        path: PathBuf,
        /// Which kinds are known, or what was found instead.
        hint: String,
    },
    /// What stands at the path may hold runs, and nothing of it can be read.
    #[error("{path}: nothing can be imported; {reason}", path = path.display())]
    NothingReadable {
        /// The path.
        path: PathBuf,
        /// What is wrong with which files.
        reason: String,
    },
    /// The content is not what the kind of file asks for.
    #[error("{path}: cannot be read as {kind}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kind that it was taken for.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is over a limit.
    #[error("{path}: {what} is {actual}, at most {limit} is read", path = path.display())]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// What was measured, with its unit.
        what: &'static str,
        /// How much there is.
        actual: u64,
        /// The limit.
        limit: u64,
    },
    /// A mapping cannot be understood or does not fit the columns.
    #[error("mapping {text:?}: {reason}")]
    Mapping {
        /// The entry, or the whole mapping.
        text: String,
        /// What is wrong, and what would be accepted.
        reason: String,
    },
    /// The receiver of the data failed.
    #[error("{0}")]
    Sink(#[from] SinkError),
}

impl ImportError {
    /// The stable code of this error, such as `import.unreadable`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "import.io",
            Self::NotRegular { .. } => "import.not_regular",
            Self::NothingRecognised { .. } => "import.nothing_recognised",
            Self::NothingReadable { .. } => "import.nothing_readable",
            Self::Unreadable { .. } => "import.unreadable",
            Self::TooLarge { .. } => "import.too_large",
            Self::Mapping { .. } => "import.mapping",
            Self::Sink(_) => "import.sink",
        }
    }

    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn unreadable(path: &Path, kind: &'static str, reason: impl Into<String>) -> Self {
        Self::Unreadable { path: path.to_owned(), kind, reason: reason.into() }
    }
}

/// The first characters of a text, for messages that must stay short.
pub(crate) fn beginning(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
