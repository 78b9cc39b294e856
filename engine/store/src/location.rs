//! Where a lake is: a folder, or a prefix of a bucket; and where this machine keeps the log of a lake in a bucket.
//!
//! A log must be synced to a disk, which no object store can do. So a lake on an object store has a *state folder* on
//! the machine of its writer, with the log, the lock file and [`StateFile`](crate::StateFile), which says to which lake
//! all this belongs.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use sha2::{Digest, Sha256};
use thiserror::Error;
use url::{Host, Url};

use crate::layout::Layout;

/// How often and how long one request is tried: a store that is overloaded for seconds is waited for, one that is not
/// there is an error within a minute. One try takes 5 s to connect and 30 s in all at most, which are the client's own
/// limits. Flushes are tried again by the writer, for as long as it lives.
const RETRIES: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(4);

/// The place of a lake. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Location {
    place: Place,
    state: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Bucket {
        url: Url,
        /// A store that was given, in place of the one that the URL names.
        store: Option<Arc<dyn ObjectStore>>,
    },
}

/// A location cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot use {text:?} as a lake: {reason}")]
pub struct LocationError {
    /// What was given.
    pub text: String,
    /// Why not, and what to write.
    pub reason: String,
}

impl Location {
    /// Parses a folder or a URL: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.
    ///
    /// # Errors
    /// An empty text, an unknown scheme, a URL without a bucket or with a query or password in it.
    ///
    /// ```
    /// use store::Location;
    /// assert_eq!(Location::parse("./lake").unwrap().to_string(), "./lake");
    /// assert_eq!(Location::parse("s3://runs/team/").unwrap().to_string(), "s3://runs/team");
    /// assert!(Location::parse("http://example.com/x").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let refuse = |reason: &str| Err(LocationError { text: text.to_owned(), reason: reason.to_owned() });
        if text.is_empty() {
            return refuse("the location is empty");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::from(without_parents(PathBuf::from(text))));
        };
        match scheme {
            "file" => {
                let path = Path::new(rest);
                if path.is_absolute() {
                    Ok(Self::from(path))
                } else {
                    refuse("a file URL has an absolute path: file:///folder")
                }
            }
            "s3" | "gs" | "az" => {
                let Ok(url) = Url::parse(text) else {
                    return refuse("it is not a URL; write s3://bucket/prefix");
                };
                Self::bucket(url, None)
            }
            _ => refuse(
                "the scheme is unknown; use a folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
            ),
        }
    }

    /// A lake in a store that the caller made; `url` is its name. Paths in the store are the path of the URL.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn in_store(url: Url, store: Arc<dyn ObjectStore>) -> Result<Self, LocationError> {
        Self::bucket(url, Some(store))
    }

    fn bucket(mut url: Url, store: Option<Arc<dyn ObjectStore>>) -> Result<Self, LocationError> {
        let refuse = |reason: &str| Err(LocationError { text: url.to_string(), reason: reason.to_owned() });
        if url.host_str().is_none_or(str::is_empty) {
            return refuse("it names no bucket; write s3://bucket/prefix");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("settings of the store come from the environment, not from the URL");
        }
        if !url.username().is_empty() || url.password().is_some() {
            // The text itself may hold a secret: it is not shown.
            return Err(LocationError {
                text: format!("{}://…", url.scheme()),
                reason: "keys come from the environment (AWS_ACCESS_KEY_ID, …), not from the URL".to_owned(),
            });
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if let Err(error) = object_store::path::Path::from_url_path(&path) {
            return refuse(&format!("its path cannot be one of a store: {error}"));
        }
        url.set_path(&path);
        Ok(Self { place: Place::Bucket { url, store }, state: None })
    }

    /// The same lake with another folder for its log on this machine; `None` for the usual one. It means nothing for
    /// a lake in a folder, whose log stands beside its tables.
    #[must_use]
    pub fn with_state_folder(mut self, folder: Option<PathBuf>) -> Self {
        self.state = folder;
        self
    }

    /// The folder of the lake; `None` on an object store.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Bucket { .. } => None,
        }
    }

    /// The URL of a lake on an object store; `None` in a folder.
    pub fn url(&self) -> Option<&Url> {
        match &self.place {
            Place::Folder(_) => None,
            Place::Bucket { url, .. } => Some(url),
        }
    }

    /// The local files of the lake: those of a folder, or the state folder of a lake on an object store.
    ///
    /// # Errors
    /// When no state folder is named and the environment names no home.
    pub fn layout(&self) -> Result<Layout, LocationError> {
        match (&self.place, &self.state) {
            (Place::Folder(folder), _) => Ok(Layout::new(folder)),
            (Place::Bucket { .. }, Some(folder)) => Ok(Layout::new(folder)),
            (Place::Bucket { url, .. }, None) => {
                let base = state_home(
                    std::env::var_os("XDG_STATE_HOME").map(PathBuf::from),
                    std::env::var_os("HOME").map(PathBuf::from),
                );
                let base = base.ok_or_else(|| LocationError {
                    text: url.to_string(),
                    reason: "there is no home for its log; name a folder on a local disk with --state (RUNLAKE_STATE)"
                        .to_owned(),
                })?;
                Ok(Layout::new(base.join("runlake").join(name_of(url))))
            }
        }
    }

    /// The store of a lake that is not in a folder, rooted at its bucket.
    ///
    /// # Errors
    /// When settings in the environment cannot be used. Nothing is asked of the network yet.
    pub(crate) fn store(&self) -> Result<Option<Arc<dyn ObjectStore>>, LocationError> {
        match &self.place {
            Place::Folder(_) => Ok(None),
            Place::Bucket { store: Some(store), .. } => Ok(Some(Arc::clone(store))),
            Place::Bucket { url, store: None } => connect(url).map(Some),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Folder(folder) => write!(f, "{}", folder.display()),
            Place::Bucket { url, .. } => f.write_str(url.as_str()),
        }
    }
}

impl From<&Path> for Location {
    fn from(folder: &Path) -> Self {
        Self { place: Place::Folder(folder.to_owned()), state: None }
    }
}

impl From<PathBuf> for Location {
    fn from(folder: PathBuf) -> Self {
        Self { place: Place::Folder(folder), state: None }
    }
}

impl From<&PathBuf> for Location {
    fn from(folder: &PathBuf) -> Self {
        Self::from(folder.as_path())
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
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

fn state_home(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    // A relative path there is to be ignored, says the XDG specification.
    let absolute = |path: &PathBuf| path.is_absolute();
    xdg.filter(absolute).or_else(|| home.filter(absolute).map(|home| home.join(".local/state")))
}

/// The name of a lake's state folder among those of other lakes.
fn name_of(url: &Url) -> String {
    let digest = Sha256::digest(url.as_str().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn connect(url: &Url) -> Result<Arc<dyn ObjectStore>, LocationError> {
    let failed = |reason: String| LocationError { text: url.to_string(), reason };
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: FIRST_BACKOFF, max_backoff: LONGEST_BACKOFF, base: 2.0 },
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    };
    let built: object_store::Result<Arc<dyn ObjectStore>> = match url.scheme() {
        "gs" => GoogleCloudStorageBuilder::from_env()
            .with_url(url.as_str())
            .with_retry(retry)
            .build()
            .map(|store| Arc::new(store) as _),
        "az" => MicrosoftAzureBuilder::from_env()
            .with_url(url.as_str())
            .with_retry(retry)
            .build()
            .map(|store| Arc::new(store) as _),
        _ => {
            let mut builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry);
            let allow_http = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
            let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
            if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.starts_with("http://")) {
                if is_loopback(&endpoint) {
                    builder = builder.with_allow_http(true);
                } else if builder.get_config_value(&allow_http).as_deref() != Some("true") {
                    return Err(failed(format!(
                        "the endpoint {endpoint} is not encrypted; use https, or set AWS_ALLOW_HTTP=true"
                    )));
                }
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
    };
    built.map_err(|error| failed(error.to_string()))
}

fn is_loopback(endpoint: &str) -> bool {
    match Url::parse(endpoint).ok().and_then(|url| url.host().map(|host| host.to_owned())) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_urls_are_taken_and_the_rest_is_explained() {
        assert_eq!(Location::parse("./lake").unwrap().folder(), Some(Path::new("./lake")));
        assert_eq!(Location::parse("file:///a/b").unwrap().folder(), Some(Path::new("/a/b")));
        let current = std::env::current_dir().unwrap().canonicalize().unwrap();
        let beside = current.parent().unwrap().join("new-lake");
        assert_eq!(Location::parse("../new-lake").unwrap().folder(), Some(beside.as_path()));
        for (text, host, path) in [
            ("s3://bucket/a/b", "bucket", "/a/b"),
            ("gs://bucket/a b/", "bucket", "/a%20b"),
            ("az://container", "container", ""),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!(location.folder(), None);
            let url = location.url().unwrap();
            assert_eq!((url.host_str().unwrap(), url.path()), (host, path));
        }
        for (text, word) in [
            ("s3://", "bucket"),
            ("http://x", "unknown"),
            ("", "empty"),
            ("file://a", "absolute"),
            ("s3://bucket/x?endpoint=y", "environment"),
        ] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let secret = Location::parse("s3://KEY:SECRET@bucket/x").unwrap_err().to_string();
        assert!(!secret.contains("SECRET") && secret.contains("AWS_ACCESS_KEY_ID"), "{secret}");
    }

    #[test]
    fn one_lake_has_one_state_folder_however_its_url_is_written() {
        let name = |text: &str| name_of(Location::parse(text).unwrap().url().unwrap());
        assert_eq!(name("s3://bucket/a"), name("s3://bucket/a/"));
        assert_eq!(name("s3://bucket"), name("s3://bucket/"));
        assert_ne!(name("s3://bucket/a"), name("s3://bucket/b"));
        assert_eq!(name("s3://bucket/a").len(), 16);
    }

    #[test]
    fn the_state_folder_is_under_the_state_home() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(state_home(path("/x"), path("/home/a")), path("/x"));
        assert_eq!(state_home(path("relative"), path("/home/a")), path("/home/a/.local/state"));
        assert_eq!(state_home(None, None), None);
        let location = Location::parse("s3://b/x").unwrap().with_state_folder(path("/named"));
        assert_eq!(location.layout().unwrap().wal(), Path::new("/named/wal"));
    }

    #[test]
    fn only_loopback_may_go_unencrypted_unasked() {
        assert!(is_loopback("http://127.0.0.1:5000") && is_loopback("http://localhost:9000/"));
        assert!(is_loopback("http://[::1]:9000"));
        assert!(!is_loopback("http://localhost.example.com") && !is_loopback("http://10.0.0.1"));
    }
}
