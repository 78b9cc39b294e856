//! Where a lake is.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The place of a lake, as users write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    path: PathBuf,
}

impl Location {
    /// Parses a folder or a `file://` URL.
    ///
    /// # Errors
    /// Object stores (`s3://`, `gs://`, `az://`) are not supported by this version; other schemes are unknown.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self { path })
            } else {
                Err(Error::Location {
                    text: text.to_owned(),
                    reason: "a file URL has an absolute path: file:///folder".to_owned(),
                })
            };
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let reason = match scheme {
                "s3" | "gs" | "az" => {
                    "lakes on object storage are not supported by this version; use a local folder"
                }
                _ => "the scheme is unknown; use a local folder or file:///folder",
            };
            return Err(Error::Location { text: text.to_owned(), reason: reason.to_owned() });
        }
        if text.is_empty() {
            return Err(Error::Location { text: String::new(), reason: "the location is empty".to_owned() });
        }
        Ok(Self { path: without_parents(PathBuf::from(text)) })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Resolves `..` in a path as far as its folders exist: the URL of a table has none.
fn without_parents(path: PathBuf) -> PathBuf {
    if !path.components().any(|part| part == Component::ParentDir) {
        return path;
    }
    for ancestor in path.ancestors() {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        if let Ok(resolved) = ancestor.canonicalize() {
            return match path.strip_prefix(ancestor) {
                Ok(rest) => resolved.join(rest),
                Err(_) => resolved.join(&path),
            };
        }
    }
    path
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self { path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_file_urls_are_taken_and_the_rest_is_explained() {
        assert_eq!(Location::parse("./lake").unwrap().path(), Path::new("./lake"));
        assert_eq!(Location::parse("file:///a/b").unwrap().path(), Path::new("/a/b"));
        let folder = std::env::current_dir().unwrap().canonicalize().unwrap();
        let parent = folder.parent().unwrap();
        assert_eq!(Location::parse("../new-lake").unwrap().path(), parent.join("new-lake"));
        for (text, word) in [
            ("s3://bucket/x", "object storage"),
            ("http://x", "unknown"),
            ("", "empty"),
            ("file://a", "absolute"),
        ] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
