//! The receipts of a lake: listed, read, and searched for what an import need not read again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use store::KeptFiles;
use store::catalog::Catalog;

use super::document::{self, DocumentError};
use super::{Receipt, ReceiptSeries};
use crate::error::{Error, Result};
use crate::lake::Lake;

/// How many receipts are looked at for what they cover, the newest first.
const LOOKED_AT: usize = 64;

/// Where a receipt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptSource {
    /// In the lake, by its id.
    Id(String),
    /// In a file.
    File(PathBuf),
}

/// A receipt, to be read.
#[derive(Debug, Clone)]
pub struct ReceiptContent {
    name: String,
    place: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Bytes),
    File(PathBuf),
}

impl ReceiptContent {
    pub(super) fn of_bytes(name: &str, bytes: Bytes) -> Self {
        Self { name: name.to_owned(), place: Content::Bytes(bytes) }
    }

    /// Its id, or its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole as JSON.
    ///
    /// # Errors
    /// [`Error::Receipt`] when it cannot be opened.
    pub fn json(&self) -> Result<Box<dyn Read + '_>> {
        let opened = match &self.place {
            Content::Bytes(bytes) => document::unpacked(bytes.clone().reader()),
            Content::File(path) => {
                std::fs::File::open(path).map_err(DocumentError::from).and_then(document::unpacked)
            }
        };
        opened.map_err(|error| self.wrong(&error))
    }

    /// Everything but its series.
    ///
    /// # Errors
    /// [`Error::Receipt`] when it is no receipt.
    pub fn head(&self) -> Result<Receipt> {
        document::read_head(self.json()?).map_err(|error| self.wrong(&error))
    }

    /// Its series in order.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub fn for_each_series(&self, each: &mut dyn FnMut(ReceiptSeries)) -> Result<()> {
        document::read_series(self.json()?, each).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &DocumentError) -> Error {
        Error::Receipt { receipt: self.name.clone(), reason: error.to_string() }
    }
}

impl Lake {
    /// The receipts of all imports, oldest first, without their series.
    ///
    /// # Errors
    /// When the lake cannot be read, or one of them is damaged.
    pub async fn receipts(&self) -> Result<Vec<Receipt>> {
        let snapshot = self.snapshot().await?;
        let mut heads = Vec::new();
        for id in snapshot.catalog().kept(KeptFiles::Receipts).await.map_err(store::StoreError::from)? {
            if let Some(content) = read(snapshot.catalog(), &id).await? {
                heads.push(content.head()?);
            }
        }
        Ok(heads)
    }

    /// A receipt.
    ///
    /// # Errors
    /// [`Error::Receipt`] when there is none.
    pub async fn receipt(&self, source: &ReceiptSource) -> Result<ReceiptContent> {
        match source {
            ReceiptSource::File(path) => {
                Ok(ReceiptContent { name: path.display().to_string(), place: Content::File(path.clone()) })
            }
            ReceiptSource::Id(id) => {
                let found = read(self.snapshot().await?.catalog(), id).await?;
                found.ok_or_else(|| Error::Receipt {
                    receipt: id.clone(),
                    reason: "there is no such receipt; `runlake import --receipts` lists them".to_owned(),
                })
            }
        }
    }
}

async fn read(catalog: &Catalog, id: &str) -> Result<Option<ReceiptContent>> {
    let found = catalog.kept_file(KeptFiles::Receipts, id).await.map_err(store::StoreError::from)?;
    Ok(found.map(|bytes| ReceiptContent::of_bytes(id, bytes)))
}

/// A unit that a receipt of the lake tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Covered {
    pub(crate) receipt: Arc<str>,
    pub(crate) unit: u32,
    pub(crate) content_hash: String,
    pub(crate) runs: u64,
    pub(crate) series: u64,
    pub(crate) points: u64,
    pub(crate) rejected: u64,
}

/// What the receipts of a lake say of a path before it is imported.
#[derive(Debug)]
pub(crate) struct KeptReceipts {
    catalog: Arc<Catalog>,
    covered: HashMap<(String, String), Covered>,
    /// The newest receipt of the very path, without its rejections.
    pub(crate) newest: Option<Receipt>,
    /// Receipts of imports of the path that did not come to their end.
    pub(crate) unfinished: Vec<String>,
}

impl KeptReceipts {
    /// Looks for what is known of some units (kind and location) below a path. A receipt that cannot be read is passed
    /// over: its units are read again.
    pub(crate) async fn find(
        catalog: Arc<Catalog>,
        root: &Path,
        mut wanted: HashSet<(String, String)>,
    ) -> Result<Self> {
        let mut kept = Self { catalog, covered: HashMap::new(), newest: None, unfinished: Vec::new() };
        if wanted.is_empty() {
            return Ok(kept);
        }
        let ids = kept.catalog.kept(KeptFiles::Receipts).await.map_err(store::StoreError::from)?;
        // An import that came to its end removed the receipts of those before it that did not.
        let mut ended = false;
        for id in ids.iter().rev().take(LOOKED_AT) {
            if wanted.is_empty() && ended {
                break;
            }
            let Some(content) = read(&kept.catalog, id).await? else { continue };
            let receipt = match content.head() {
                Ok(receipt) => receipt,
                Err(error) => {
                    tracing::warn!(%id, %error, "a receipt cannot be read; what it covers is read again");
                    continue;
                }
            };
            let of_root = Path::new(&receipt.root);
            if !(of_root.starts_with(root) || root.starts_with(of_root)) {
                continue;
            }
            let name: Arc<str> = id.as_str().into();
            for (number, unit) in receipt.units.iter().enumerate() {
                let key = (unit.kind.clone(), unit.location.clone());
                let Ok(number) = u32::try_from(number) else { break };
                if wanted.remove(&key) {
                    let covered = Covered {
                        receipt: Arc::clone(&name),
                        unit: number,
                        content_hash: unit.content_hash.clone(),
                        runs: unit.runs,
                        series: unit.series,
                        points: unit.points,
                        rejected: unit.rejected,
                    };
                    kept.covered.insert(key, covered);
                }
            }
            if of_root == root {
                if receipt.complete {
                    ended = true;
                } else {
                    kept.unfinished.push(id.clone());
                }
                kept.newest.get_or_insert(receipt);
            }
        }
        Ok(kept)
    }

    /// What is known of a unit.
    pub(crate) fn covered(&self, kind: &str, location: &str) -> Option<&Covered> {
        self.covered.get(&(kind.to_owned(), location.to_owned()))
    }

    /// The contents of receipts, one after the other.
    pub(crate) async fn read(&self, id: &str) -> Result<ReceiptContent> {
        read(&self.catalog, id).await?.ok_or_else(|| Error::Receipt {
            receipt: id.to_owned(),
            reason: "it was removed during the import; import again".to_owned(),
        })
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}

/// Which units of which receipts are carried over, and what number they have now.
pub(crate) type CarriedUnits = BTreeMap<Arc<str>, HashMap<u32, u32>>;
