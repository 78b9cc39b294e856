//! What every table, column, setting and limit means, in a sentence each: for the reference in `docs/` and for
//! prompts. A test holds it against the tables themselves.

use model::RecordKind;

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableDescription {
    /// Its name; tables of the engine itself stand in the schema `system`.
    pub name: &'static str,
    /// What a row is.
    pub summary: &'static str,
    /// Each column with its sentence, in their order.
    pub columns: &'static [(&'static str, &'static str)],
}

/// What a setting does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingDescription {
    /// The name after `SET`.
    pub name: &'static str,
    /// What it can be.
    pub values: &'static str,
    /// What it is unless set.
    pub default: &'static str,
    /// What it changes.
    pub summary: &'static str,
}

const PROJECT: (&str, &str) = ("project", "The project, the unit of access rights.");
const EXPERIMENT: (&str, &str) = ("experiment", "The experiment within the project.");
const RUN_ID: (&str, &str) =
    ("run_id", "The run, 32 hexadecimal digits that sort by the time of its creation.");
const METRIC: (&str, &str) = ("metric", "The metric.");
const CONTEXT: (&str, &str) = (
    "context",
    "The context of the series as canonical JSON, such as `{\"subset\":\"val\"}`; NULL when none.",
);
const KEY: (&str, &str) = ("key", "The key.");
const TEXT: (&str, &str) = ("text", "The value as it was written.");
const NUMBER: (&str, &str) = ("number", "The value as a number, NULL when it is none.");
const AUTHOR: (&str, &str) = ("author", "Who said so, where it is known.");

/// What the columns of a table of records mean, in their order.
pub fn record_columns(kind: RecordKind) -> Vec<(&'static str, &'static str)> {
    let before = [
        PROJECT,
        ("experiment", "The experiment that it is about; that of the run where it is about one."),
        ("run_id", "The run that it is about, with which it is deleted."),
        ("id", "Which one it is among those of its table in the project."),
    ];
    let behind =
        [AUTHOR, ("created", "When it was first written."), ("updated", "When it was last written.")];
    let own = kind.columns().iter().map(|column| (column.name, column.about));
    before.into_iter().chain(own).chain(behind).collect()
}

/// The tables of every schema but `system`, without those of records: [`record_columns`] tells of them.
pub const TABLES: [TableDescription; 9] = [
    TableDescription {
        name: "runs",
        summary: "One row a run: one execution, with what went in and the last values of what came out.",
        columns: &[
            PROJECT,
            EXPERIMENT,
            RUN_ID,
            ("name", "The name that people gave it; several runs may have the same."),
            ("status", "`RUNNING`, `SCHEDULED`, `FINISHED`, `FAILED` or `KILLED`."),
            ("user", "Who started it."),
            ("start_time", "When it started."),
            ("end_time", "When it ended, NULL while it has not."),
            ("duration", "Seconds from start to end, NULL while one is unknown."),
            ("parent_run_id", "The run that it is a part of, such as a sweep."),
            ("source", "The tool or program that it came from."),
            ("source_run_id", "Its id in the tool that it was imported from."),
            ("git_commit", "The commit of its code."),
            ("seed", "The param or tag `seed` (or `random_seed`) where it is a whole number."),
            (
                "config_hash",
                "A hash of all params but the seed: runs that differ only in the seed have the same one.",
            ),
            (
                "config_hash_with_seed",
                "A hash of all params: equal ones are the same configuration with the same seed.",
            ),
            ("deleted", "Whether it was deleted and can still be restored."),
            (
                "params",
                "One field a param: `params.lr`, `params['opt/lr']`. The type is that of all values of the key.",
            ),
            ("tags", "One field a tag, as with params."),
            (
                "metrics",
                "One field a metric, the last value, at the largest step. NULL is not logged; NaN and infinities are values. Of series with and without context the one without counts.",
            ),
        ],
    },
    TableDescription {
        name: "points",
        summary: "One row a point: a value of a metric at a step. Repeated steps are all there.",
        columns: &[
            PROJECT,
            EXPERIMENT,
            RUN_ID,
            METRIC,
            CONTEXT,
            ("step", "The step."),
            ("step_frac", "Millionths of a step beyond it, NULL for whole steps."),
            ("time", "When it was logged."),
            ("value", "The value, bit for bit as logged: NaN, infinities and -0.0 too."),
            ("attempt", "Which attempt of the run logged it: 0, and one more each time it was resumed."),
        ],
    },
    TableDescription {
        name: "series",
        summary: "One row a metric of a run in a context, with statistics that are kept up to date at every write: no points are read.",
        columns: &[
            PROJECT,
            EXPERIMENT,
            RUN_ID,
            METRIC,
            CONTEXT,
            ("count", "Points."),
            ("nan_count", "Points whose value is NaN."),
            ("infinite_count", "Points whose value is infinite."),
            ("first_step", "The smallest step."),
            ("last_step", "The largest step."),
            ("last_step_frac", "Millionths of a step beyond it, of the last point."),
            ("first_time", "The earliest time."),
            ("last_time", "The latest time."),
            ("last", "The value at the largest step, then the latest time."),
            ("last_at", "The time of that point."),
            ("last_finite", "The last value that is neither NaN nor infinite."),
            ("last_finite_step", "Its step."),
            ("last_finite_step_frac", "Millionths of a step beyond it."),
            ("last_finite_at", "Its time."),
            ("min", "The smallest finite value."),
            ("argmin_step", "The smallest step at which it stands."),
            ("max", "The largest finite value."),
            ("argmax_step", "The smallest step at which it stands."),
            ("mean", "The mean of the finite values."),
            ("sum", "The sum of the finite values."),
            ("sum_compensation", "What the plain sum lost by rounding; add it."),
            ("fingerprint", "A hash of all points in whatever order: equal series have equal ones."),
        ],
    },
    TableDescription {
        name: "params",
        summary: "One row a run and param.",
        columns: &[PROJECT, EXPERIMENT, RUN_ID, KEY, TEXT, NUMBER],
    },
    TableDescription {
        name: "tags",
        summary: "One row a run and tag.",
        columns: &[PROJECT, EXPERIMENT, RUN_ID, KEY, TEXT, NUMBER],
    },
    TableDescription {
        name: "experiments",
        summary: "One row an experiment: a hypothesis under test, with its latest decision.",
        columns: &[
            PROJECT,
            EXPERIMENT,
            ("hypothesis", "What is tested."),
            ("source", "Where the idea came from."),
            ("target_metric", "The metric that decides."),
            ("direction", "Whether the target metric is to go up or down."),
            ("owner", "Who is responsible."),
            ("notes", "Free text."),
            ("created", "When it was made."),
            ("decision", "The latest decision: `ship`, `iterate` or `reject`."),
            ("decision_reason", "Why."),
            ("decision_author", "Who decided."),
            ("decision_time", "When."),
        ],
    },
    TableDescription {
        name: "decisions",
        summary: "One row a decision on an experiment; none is ever overwritten.",
        columns: &[
            PROJECT,
            EXPERIMENT,
            ("decision", "`ship`, `iterate` or `reject`."),
            ("reason", "Why."),
            AUTHOR,
            ("time", "When."),
        ],
    },
    TableDescription {
        name: "notes",
        summary: "One row a note on a project, an experiment or a run.",
        columns: &[
            PROJECT,
            ("experiment", "The experiment, NULL when the note is on the project."),
            ("run_id", "The run, NULL when the note is on no single run."),
            ("text", "What it says."),
            AUTHOR,
            ("time", "When."),
        ],
    },
    TableDescription {
        name: "imports",
        summary: "One row an imported file or run folder, as it was then. Only callers who see all projects see it.",
        columns: &[
            ("kind", "The tool that wrote it, such as `tensorboard`."),
            ("location", "The file or folder."),
            ("content_hash", "A hash of what it held."),
            ("points", "Points added."),
            ("rejected", "Records that were not understood."),
            ("time", "When."),
        ],
    },
];

/// The tables of the schema `system`.
pub const SYSTEM_TABLES: [TableDescription; 6] = [
    TableDescription {
        name: "files",
        summary: "One row a segment of points on disk. Only callers who see all projects see it.",
        columns: &[
            ("table", "The table."),
            ("path", "The file below the folder of the table."),
            ("bytes", "Its size."),
            ("rows", "Its rows."),
        ],
    },
    TableDescription {
        name: "functions",
        summary: "One row a function of Runlake.",
        columns: &[
            ("name", "Its name."),
            ("kind", "`aggregate`, `window`, `scalar`, or `table` for those in FROM."),
            ("syntax", "How a call is written; brackets hold what may be left out."),
            ("returns", "What it gives."),
            ("description", "What it computes, and from what."),
            ("example", "A statement that runs as it stands."),
        ],
    },
    TableDescription {
        name: "jobs",
        summary: "One row a kind of work in the background of the process that writes. Only callers who see all projects see it.",
        columns: &[
            ("job", "The kind of work."),
            ("bytes", "Bytes that wait for it."),
            ("waiting_points", "Points that wait for it, where it is about points."),
        ],
    },
    TableDescription {
        name: "limits",
        summary: "One row a limit of the statement that asks, and of all of them together.",
        columns: &[
            ("name", "Its name."),
            ("value", "How much is allowed, NULL for as much as there is."),
            ("unit", "Of what."),
        ],
    },
    TableDescription {
        name: "queries",
        summary: "One row a statement of late, with what it cost. Callers who do not see all projects see their own.",
        columns: &[
            ("id", "Its number; later ones are larger."),
            ("caller", "Who asked; empty for the owner of the lake."),
            ("sql", "Its text, shortened."),
            ("state", "`waiting`, `running`, `finished`, `failed` or `cancelled`."),
            ("started", "When it arrived."),
            ("waited", "Seconds that it waited for its turn."),
            ("elapsed", "Seconds since it arrived, until its end."),
            ("rows", "Rows that were read."),
            ("bytes", "Their bytes in Arrow form."),
            ("memory", "The most memory that it held, in bytes."),
            ("spilled", "Bytes that it wrote to temporary files."),
            ("cached", "Whether its answer was kept from an earlier one."),
            ("error", "Why it failed or was cancelled."),
        ],
    },
    TableDescription {
        name: "wal",
        summary: "One row a file of the write-ahead log, in the process that writes. Only callers who see all projects see it.",
        columns: &[("file", "The file."), ("bytes", "Its size.")],
    },
];

/// The settings of a connection.
pub const SETTINGS: [SettingDescription; 3] = [
    SettingDescription {
        name: "runlake.device",
        values: "`'auto'`, `'cpu'`, `'cuda:0'`",
        default: "auto",
        summary: "Where resampling runs. The answer is the same on each.",
    },
    SettingDescription {
        name: "runlake.seed",
        values: "a whole number of at least 0",
        default: "0",
        summary: "The seed of functions that draw and are given none.",
    },
    SettingDescription {
        name: "runlake.on_corrupt",
        values: "`'fail'`, `'skip'`",
        default: "fail",
        summary: "Whether a statement that needs a damaged file fails, or reads the rest and says so.",
    },
];

/// What a limit of `system.limits` bounds, and who sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// One statement; the same on every server unless the owner of the lake asks.
    Statement,
    /// All statements of a process, as it was started.
    Engine,
    /// The queue of a server, as it was started; not there where statements do not queue.
    Queue,
}

/// A limit of `system.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitDescription {
    /// Its name.
    pub name: &'static str,
    /// What it bounds.
    pub scope: LimitScope,
    /// What it counts.
    pub summary: &'static str,
}

const fn limit(name: &'static str, scope: LimitScope, summary: &'static str) -> LimitDescription {
    LimitDescription { name, scope, summary }
}

/// All limits.
pub const LIMITS: [LimitDescription; 19] = {
    use LimitScope::{Engine, Queue, Statement};
    [
        limit("sql.text", Statement, "The text of a statement."),
        limit("sql.tokens", Statement, "Its words, numbers and signs."),
        limit("sql.operators", Statement, "Arithmetic, comparisons, AND, OR, NOT, casts and subscripts."),
        limit("sql.nesting", Statement, "Parentheses, brackets and CASE within each other."),
        limit("sql.joins", Statement, "Joins."),
        limit("sql.unions", Statement, "UNION, INTERSECT and EXCEPT."),
        limit(
            "sql.keys",
            Statement,
            "Keys of `params`, `tags` or `metrics` in a row that shows them whole: those that most runs have.",
        ),
        limit("sql.memory", Statement, "Memory of one statement; sorts and joins beyond it go to disk."),
        limit("sql.memory_all", Engine, "Memory of all statements together."),
        limit("sql.spill", Engine, "Temporary files of one statement."),
        limit("sql.spill_all", Engine, "Temporary files of all statements together."),
        limit("sql.time", Statement, "Planning and running, until the last row is taken."),
        limit("sql.result_rows", Statement, "Rows of the result."),
        limit("sql.result_bytes", Statement, "Bytes of the result in Arrow form."),
        limit("sql.slots", Queue, "Statements that run at once."),
        limit("sql.slots_reserved", Queue, "Slots beyond them, which only short statements get."),
        limit("sql.waiting", Queue, "Statements that wait for their turn."),
        limit("sql.wait", Queue, "How long one waits."),
        limit("sql.kept_answers", Queue, "Answers that are kept for statements that are asked again."),
    ]
};
