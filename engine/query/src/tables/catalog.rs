//! The names under which the tables of a snapshot are found.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Fields, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::{TableProvider, TableType};
use model::schema::Table;
use model::{ProjectName, RunId};
use store::{RunRow, Snapshot};

use super::{Access, Content, KeyCache, KeyTypes, Reading, SnapshotTable, as_views, runs, system};
use crate::postgres::{PG_CATALOG, PostgresSchema};
use crate::service::EngineView;
use crate::views::PlannedViews;

/// The name of the catalog.
pub(crate) const CATALOG: &str = "runlake";
/// The schema with every project that the caller may see.
pub(crate) const PUBLIC: &str = "public";
/// The schema of the engine's own tables.
const SYSTEM: &str = "system";

/// The tables that every schema but `system` has.
const TABLES: [&str; 20] = [
    "artifacts",
    "baselines",
    "budgets",
    "datasets",
    "decisions",
    "directions",
    "experiments",
    "gates",
    "imports",
    "lineage",
    "notes",
    "params",
    "points",
    "resources",
    "reviews",
    "runs",
    "series",
    "sweeps",
    "tags",
    "trials",
];
const SYSTEM_TABLES: [&str; 6] = ["files", "functions", "jobs", "limits", "queries", "wal"];

/// Schemas, with the names of the tables in each.
pub(crate) type Listing = Vec<(String, Vec<String>)>;

/// Whether a schema of this name has such a table.
pub(crate) fn is_table(schema: &str, name: &str) -> bool {
    if schema == SYSTEM { SYSTEM_TABLES.contains(&name) } else { TABLES.contains(&name) }
}

/// The schemas of one snapshot: `public`, one for each project, and `system`.
///
/// A project that is itself called `public`, `system` or `information_schema` has no schema of its own; its rows are
/// in `public`.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotCatalog {
    snapshot: Snapshot,
    access: Access,
    keys: Arc<KeyCache>,
    reading: Reading,
    view: EngineView,
    /// Whether it also has the schemas that clients of PostgreSQL look into.
    postgres: bool,
    /// The kept views that the statement needs.
    views: Arc<PlannedViews>,
}

impl SnapshotCatalog {
    pub(crate) fn new(
        snapshot: Snapshot,
        access: Access,
        keys: Arc<KeyCache>,
        reading: Reading,
        view: EngineView,
        postgres: bool,
    ) -> Self {
        Self { snapshot, access, keys, reading, view, postgres, views: Arc::default() }
    }

    /// What is read.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Who reads.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Refuses tables of which something is damaged, or notes what is missing, as scans of them do.
    pub(crate) fn check(&self, tables: &[Table]) -> Result<(), DataFusionError> {
        self.reading.check(&self.snapshot, tables)
    }

    /// The kept views as far as they were planned.
    pub(crate) fn views(&self) -> &PlannedViews {
        &self.views
    }

    /// All schemas and tables that the caller sees, but for those of PostgreSQL.
    pub(crate) fn listing(&self) -> Listing {
        let tables = |schema: &str| -> &[&str] { if schema == SYSTEM { &SYSTEM_TABLES } else { &TABLES } };
        let named = |schema: String| {
            let mut names: Vec<String> = tables(&schema).iter().map(|name| (*name).to_owned()).collect();
            if schema == PUBLIC {
                names.extend(self.views.names());
            }
            (schema, names)
        };
        self.schema_names().into_iter().map(named).collect()
    }

    /// The columns of a table, `None` when there is no such table. Without `keys` the structs of `runs` have no fields:
    /// to find out which there are costs a look at every run.
    pub(crate) async fn columns(
        &self,
        schema: &str,
        table: &str,
        keys: bool,
    ) -> Result<Option<SchemaRef>, DataFusionError> {
        if table == "runs" && !keys {
            let none = Fields::empty();
            let types = KeyTypes { params: none.clone(), tags: none.clone(), metrics: none };
            return Ok(Some(runs::schema(&types)));
        }
        let Some(schema) = self.schema(schema) else { return Ok(None) };
        Ok(schema.table(table).await?.map(|table| table.schema()))
    }

    /// The project of every experiment and of every table of records.
    fn all_projects(&self) -> impl Iterator<Item = &ProjectName> {
        let registry = self.snapshot.registry();
        registry.experiments().map(|experiment| &experiment.project).chain(registry.projects_of_records())
    }

    fn projects(&self) -> BTreeSet<ProjectName> {
        self.all_projects().filter(|project| self.access.allows(project)).cloned().collect()
    }

    /// The runs that a text means: the one with this id, else those with this name that are not deleted.
    pub(crate) fn runs_called(&self, text: &str) -> Vec<RunId> {
        let registry = self.snapshot.registry();
        let by_id = text.parse().ok().and_then(|id: RunId| registry.run(id));
        if let Some(run) = by_id.filter(|run| self.access.allows(run.project())) {
            return vec![run.id()];
        }
        let called =
            |run: &RunRow<'_>| run.name() == text && !run.is_deleted() && self.access.allows(run.project());
        registry.runs().iter().filter(called).map(RunRow::id).collect()
    }

    /// All keys of params, tags and metrics, to suggest one.
    pub(crate) fn key_names(&self) -> Vec<String> {
        let types = self.keys.get(&self.snapshot, &self.access);
        let fields = types.params.iter().chain(&types.tags).chain(&types.metrics);
        fields.map(|field| field.name().clone()).collect()
    }

    /// All tables as they can be written, to suggest one.
    pub(crate) fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = TABLES.iter().map(|table| (*table).to_owned()).collect();
        names.extend(SYSTEM_TABLES.iter().map(|table| format!("{SYSTEM}.{table}")));
        names.extend(self.snapshot.registry().views().map(|view| view.name.to_string()));
        names
    }
}

impl CatalogProvider for SnapshotCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.projects().iter().map(|project| project.to_string()).collect();
        names.extend([PUBLIC.to_owned(), SYSTEM.to_owned()]);
        names.into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if self.postgres
            && let Some(schema) = PostgresSchema::new(name, self.clone())
        {
            return Some(Arc::new(schema));
        }
        let shows = match name {
            PUBLIC => Shows::Public,
            SYSTEM => Shows::System,
            _ => {
                let project = ProjectName::new(name).ok().filter(|project| self.access.allows(project))?;
                if !self.all_projects().any(|of| *of == project) {
                    return None;
                }
                Shows::Project(Access::Projects(Arc::new(BTreeSet::from([project]))))
            }
        };
        Some(Arc::new(SnapshotSchema { catalog: self.clone(), shows }))
    }
}

#[derive(Debug, Clone)]
enum Shows {
    /// All that the caller sees, and the views.
    Public,
    /// The rows of one project.
    Project(Access),
    System,
}

#[derive(Debug)]
struct SnapshotSchema {
    catalog: SnapshotCatalog,
    shows: Shows,
}

#[async_trait]
impl SchemaProvider for SnapshotSchema {
    fn table_names(&self) -> Vec<String> {
        let names: &[&str] = match self.shows {
            Shows::Public | Shows::Project(_) => &TABLES,
            Shows::System => &SYSTEM_TABLES,
        };
        let views = if self.shows_views() { self.catalog.views.names() } else { Vec::new() };
        names.iter().map(|name| (*name).to_owned()).chain(views).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let (access, found): (Access, Option<(Content, SchemaRef)>) = match &self.shows {
            Shows::Public => (self.catalog.access.clone(), self.content(name, &self.catalog.access)),
            Shows::Project(access) => (access.clone(), self.content(name, access)),
            Shows::System => {
                let view = || self.catalog.view.clone();
                let found = match name {
                    "files" => Some((Content::Files, system::files_schema())),
                    "functions" => Some((Content::Functions, system::functions_schema())),
                    "jobs" => Some((Content::Jobs(view()), system::jobs_schema())),
                    "limits" => Some((Content::Limits(view()), system::limits_schema())),
                    "queries" => Some((Content::Queries(view()), system::queries_schema())),
                    "wal" => Some((Content::Wal(view()), system::wal_schema())),
                    _ => None,
                };
                (self.catalog.access.clone(), found)
            }
        };
        if found.is_none()
            && self.shows_views()
            && let Some(view) = self.catalog.views.get(name)
        {
            return Ok(Some(view));
        }
        if found.is_none()
            && let Some(postgres) = self.postgres()
        {
            return postgres.table(name).await;
        }
        Ok(found.map(|(content, schema)| {
            let (snapshot, reading) = (self.catalog.snapshot.clone(), self.catalog.reading.clone());
            Arc::new(SnapshotTable { snapshot, access, reading, content, schema }) as Arc<dyn TableProvider>
        }))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        let kind = if self.is_view(name) { TableType::View } else { TableType::Base };
        Ok(self.table_exist(name).then_some(kind))
    }

    fn table_exist(&self, name: &str) -> bool {
        let ours = match self.shows {
            Shows::Public | Shows::Project(_) => TABLES.contains(&name),
            Shows::System => SYSTEM_TABLES.contains(&name),
        };
        ours || self.is_view(name) || self.postgres().is_some_and(|postgres| postgres.table_exist(name))
    }
}

impl SnapshotSchema {
    fn shows_views(&self) -> bool {
        matches!(self.shows, Shows::Public)
    }

    fn is_view(&self, name: &str) -> bool {
        self.shows_views() && !TABLES.contains(&name) && self.catalog.views.get(name).is_some()
    }

    /// Where PostgreSQL looks for a table that is written without its schema.
    fn postgres(&self) -> Option<PostgresSchema> {
        let looks = self.catalog.postgres && !matches!(self.shows, Shows::System);
        looks.then(|| PostgresSchema::new(PG_CATALOG, self.catalog.clone())).flatten()
    }

    fn content(&self, name: &str, access: &Access) -> Option<(Content, SchemaRef)> {
        match name {
            "runs" => {
                let types = self.catalog.keys.get(&self.catalog.snapshot, access);
                let schema = runs::schema(&types);
                Some((Content::Runs { types, needed: None }, schema))
            }
            "points" => Some((Content::Points(None), as_views(&Table::Points.schema()))),
            _ => {
                let table = Table::ALL.into_iter().find(|table| table.name() == name)?;
                Some((Content::Rows(table), as_views(&table.schema())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_a_lake_is_a_table_of_sql() {
        assert_eq!(TABLES.into_iter().collect::<BTreeSet<_>>(), Table::ALL.map(Table::name).into());
        assert!(TABLES.is_sorted());
    }
}
