//! An object store that is slow, refuses requests, and does what it is asked without saying so.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    /// Refused: 503.
    Refused,
    /// Done, and the answer is lost.
    Unanswered,
}

/// A store over memory whose requests go wrong on demand. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    random: AtomicU64,
    /// Of a thousand requests, how many are refused, and as many again not answered.
    per_mille: AtomicU64,
    latency_millis: AtomicU64,
    /// Nothing gets through.
    cut_off: AtomicBool,
    /// Several writers are told that they made the same object.
    forgets_conditions: AtomicBool,
    /// The next commit of this table is kept back; it arrives when [`FaultyStore::deliver`] says so.
    hold_back: Mutex<Option<String>>,
    /// What is held back arrives when a commit of this table is sent.
    deliver_before: Mutex<Option<String>>,
    held_back: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    /// Objects with this in their path cannot be read.
    unreadable: Mutex<Option<String>>,
    gets: AtomicU64,
    wrong: AtomicU64,
}

impl FaultyStore {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(InMemory::new()), 0)
    }

    pub(crate) fn over(inner: Arc<dyn ObjectStore>, seed: u64) -> Self {
        let state = State { random: AtomicU64::new(seed), ..State::default() };
        Self { inner, state: Arc::new(state) }
    }

    /// Another way to the same objects, with faults of its own.
    pub(crate) fn other_way(&self) -> Self {
        Self::over(Arc::clone(&self.inner), 0)
    }

    pub(crate) fn shared(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.clone())
    }

    pub(crate) fn set_faults(&self, per_mille: u64, latency: Duration) {
        self.state.per_mille.store(per_mille, Ordering::Relaxed);
        self.state.latency_millis.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    pub(crate) fn cut_off(&self, cut_off: bool) {
        self.state.cut_off.store(cut_off, Ordering::Relaxed);
    }

    pub(crate) fn forget_conditions(&self) {
        self.state.forgets_conditions.store(true, Ordering::Relaxed);
    }

    pub(crate) fn hold_back_commits_of(&self, table: Option<&str>) {
        *self.state.hold_back.lock() = table.map(|table| format!("tables/{table}/_delta_log/"));
    }

    /// What was held back arrives just before the next commit of a table.
    pub(crate) fn deliver_before_commit_of(&self, table: &str) {
        *self.state.deliver_before.lock() = Some(format!("tables/{table}/_delta_log/"));
    }

    /// What was held back arrives now, under the conditions that it was sent with.
    pub(crate) async fn deliver(&self) -> Vec<Result<PutResult>> {
        let held: Vec<_> = self.state.held_back.lock().drain(..).collect();
        let mut results = Vec::new();
        for (path, payload, options) in held {
            results.push(self.inner.put_opts(&path, payload, options).await);
        }
        results
    }

    /// No object with this in its path can be read.
    pub(crate) fn refuse_reads_of(&self, part: Option<&str>) {
        *self.state.unreadable.lock() = part.map(str::to_owned);
    }

    pub(crate) fn gets(&self) -> u64 {
        self.state.gets.load(Ordering::Relaxed)
    }

    pub(crate) fn wrong(&self) -> u64 {
        self.state.wrong.load(Ordering::Relaxed)
    }

    /// A number that depends on the seed and the count of requests before.
    fn random(&self) -> u64 {
        let mut z = self.state.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    async fn fate(&self) -> Fate {
        let latency = self.state.latency_millis.load(Ordering::Relaxed);
        if latency > 0 {
            tokio::time::sleep(Duration::from_millis(self.random() % (2 * latency))).await;
        }
        let per_mille = self.state.per_mille.load(Ordering::Relaxed);
        let drawn = self.random() % 1000;
        let fate = if self.state.cut_off.load(Ordering::Relaxed) || drawn < per_mille {
            Fate::Refused
        } else if drawn < 2 * per_mille {
            Fate::Unanswered
        } else {
            return Fate::Fine;
        };
        self.state.wrong.fetch_add(1, Ordering::Relaxed);
        fate
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn fault(text: &'static str) -> Error {
    Error::Generic { store: "FaultyStore", source: text.into() }
}

fn judge<T>(fate: Fate, result: Result<T>) -> Result<T> {
    match fate {
        Fate::Unanswered => Err(fault("timed out")),
        _ => result,
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let fate = self.fate().await;
        if fate == Fate::Refused {
            return Err(fault("503 Slow Down"));
        }
        if self.state.hold_back.lock().as_ref().is_some_and(|table| path.as_ref().contains(table)) {
            self.state.held_back.lock().push((path.clone(), payload, options));
            return Err(fault("timed out"));
        }
        let before = self.state.deliver_before.lock().take_if(|table| path.as_ref().contains(table.as_str()));
        if before.is_some() {
            assert!(self.deliver().await[0].is_ok(), "the first try of the commit arrives");
        }
        if self.state.forgets_conditions.load(Ordering::Relaxed) && options.mode == PutMode::Create {
            options.mode = PutMode::Overwrite;
        }
        judge(fate, self.inner.put_opts(path, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if self.fate().await != Fate::Fine {
            return Err(fault("503 Slow Down"));
        }
        let inner = self.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(FaultyUpload { inner, store: self.clone() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.state.gets.fetch_add(1, Ordering::Relaxed);
        if self.state.unreadable.lock().as_ref().is_some_and(|part| path.as_ref().contains(part)) {
            return Err(fault("503 Slow Down"));
        }
        if self.fate().await != Fate::Fine {
            return Err(fault("503 Slow Down"));
        }
        self.inner.get_opts(path, options).await
    }

    /// As the stores of the network do it: near ranges together, each one request.
    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fetch = |range: Range<u64>| {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            async move { self.get_opts(path, options).await?.bytes().await }
        };
        object_store::coalesce_ranges(ranges, fetch, object_store::OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.state.cut_off.load(Ordering::Relaxed) {
            return futures::stream::iter([Err(fault("503 Slow Down"))]).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.fate().await != Fate::Fine {
            return Err(fault("503 Slow Down"));
        }
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    store: FaultyStore,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, store) = (self.inner.put_part(data), self.store.clone());
        async move {
            match store.fate().await {
                Fate::Fine => part.await,
                _ => Err(fault("503 Slow Down")),
            }
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fate = self.store.fate().await;
        if fate == Fate::Refused {
            return Err(fault("503 Slow Down"));
        }
        judge(fate, self.inner.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
