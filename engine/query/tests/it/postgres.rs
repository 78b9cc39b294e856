//! What clients of PostgreSQL send by themselves, answered over a small lake; parameters; and that this dialect opens
//! nothing that the guard keeps shut.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use model::ProjectName;
use query::postgres::{PgKind, PgType};
use query::{Access, Dialect, QueryError, QueryOptions, describe};

use crate::lake::{FACTORY, Kept, Lake, block_on, texts};

fn options() -> QueryOptions {
    QueryOptions { dialect: Dialect::Postgres, ..QueryOptions::default() }
}

fn rows(lake: &Lake, sql: &str) -> Vec<Vec<String>> {
    texts(&lake.ask_with(sql, options()).unwrap_or_else(|error| panic!("{sql}\n{error}")))
}

fn column(lake: &Lake, sql: &str, at: usize) -> Vec<String> {
    rows(lake, sql).into_iter().map(|mut row| row.swap_remove(at)).collect()
}

const OF_PUBLIC: [&str; 20] = [
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

/// What psql sends for `\dn`, `\dt`, `\d runs`, `\df`, `\l`, `\du`, `\dp`.
#[test]
fn psql_looks_around() {
    let lake = Lake::small(Kept::InMemory);
    let schemas = "SELECT n.nspname AS \"Name\", pg_catalog.pg_get_userbyid(n.nspowner) AS \"Owner\" \
         FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1;";
    assert_eq!(column(&lake, schemas, 0), ["nlp", "public", "system", "vision"]);
    let tables = "SELECT n.nspname as \"Schema\", c.relname as \"Name\", \
         CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' END as \"Type\", \
         pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\" \
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
         WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' \
         AND n.nspname <> 'information_schema' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2;";
    assert_eq!(column(&lake, tables, 1), OF_PUBLIC);
    let found = rows(
        &lake,
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname OPERATOR(pg_catalog.~) '^(runs)$' COLLATE pg_catalog.default \
         AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3;",
    );
    assert_eq!(found.len(), 1, "the runs of the projects are not on the search path: {found:?}");
    let oid = &found[0][0];
    let again = column(&lake, "SELECT oid FROM pg_class WHERE oid = 'public.runs'::regclass", 0);
    assert_eq!(&again[0], oid, "the next statement has the same object ids");
    let facts = format!(
        "SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, \
         c.relforcerowsecurity, false AS relhasoids, c.relispartition, '', c.reltablespace, \
         CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, \
         c.relpersistence, c.relreplident, am.amname FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid) \
         LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid) WHERE c.oid = '{oid}';"
    );
    assert_eq!(rows(&lake, &facts).len(), 1);
    let columns = format!(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
          WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, \
         (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t WHERE c.oid = a.attcollation \
          AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation, \
         a.attidentity, a.attgenerated FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = '{oid}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;"
    );
    let columns = rows(&lake, &columns);
    let of = |name: &str| columns.iter().find(|row| row[0] == name).unwrap()[1].clone();
    assert_eq!(of("run_id"), "text");
    assert_eq!(of("start_time"), "timestamp with time zone");
    assert_eq!(of("duration"), "double precision");
    assert_eq!(of("params"), "json");
    assert!(columns.len() < 40, "the keys of structs are no columns: {}", columns.len());
    // Everything else that `\d` asks is about what a lake does not have.
    for nothing in [
        "SELECT c2.relname, i.indisprimary, i.indisunique, i.indisclustered, i.indisvalid, \
         pg_catalog.pg_get_indexdef(i.indexrelid, 0, true), pg_catalog.pg_get_constraintdef(con.oid, true), contype \
         FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i \
         LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid) \
         WHERE c.oid = '$' AND c.oid = i.indrelid AND i.indexrelid = c2.oid ORDER BY i.indisprimary DESC, c2.relname;",
        "SELECT pol.polname, pol.polpermissive, CASE WHEN pol.polroles = '{0}' THEN NULL ELSE \
         pg_catalog.array_to_string(array(select rolname from pg_catalog.pg_roles where oid = any (pol.polroles) \
         order by 1),',') END, pg_catalog.pg_get_expr(pol.polqual, pol.polrelid) \
         FROM pg_catalog.pg_policy pol WHERE pol.polrelid = '$' ORDER BY 1;",
        "SELECT oid, stxrelid::pg_catalog.regclass, stxnamespace::pg_catalog.regnamespace::pg_catalog.text AS nsp, \
         stxname, 'd' = any(stxkind) AS ndist_enabled FROM pg_catalog.pg_statistic_ext WHERE stxrelid = '$' \
         ORDER BY nsp, stxname;",
        "SELECT pubname , NULL , NULL FROM pg_catalog.pg_publication p \
         JOIN pg_catalog.pg_publication_namespace pn ON p.oid = pn.pnpubid \
         JOIN pg_catalog.pg_class pc ON pc.relnamespace = pn.pnnspid \
         WHERE pc.oid ='$' and pg_catalog.pg_relation_is_publishable('$') UNION \
         SELECT pubname , pg_get_expr(pr.prqual, c.oid) , (CASE WHEN pr.prattrs IS NOT NULL THEN \
         (SELECT string_agg(attname, ', ') FROM pg_catalog.generate_series(0, \
         pg_catalog.array_upper(pr.prattrs::pg_catalog.int2[], 1)) s, pg_catalog.pg_attribute \
         WHERE attrelid = pr.prrelid AND attnum = prattrs[s]) ELSE NULL END) \
         FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel pr ON p.oid = pr.prpubid \
         JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid WHERE pr.prrelid = '$' ORDER BY 1;",
        "SELECT c.oid::pg_catalog.regclass FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i \
         WHERE c.oid = i.inhparent AND i.inhrelid = '$' AND c.relkind != 'p' AND c.relkind != 'I' ORDER BY inhseqno;",
        "SELECT c.oid::pg_catalog.regclass, c.relkind, inhdetachpending, \
         pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i \
         WHERE c.oid = i.inhrelid AND i.inhparent = '$' ORDER BY pg_catalog.pg_get_expr(c.relpartbound, c.oid) = \
         'DEFAULT', c.oid::pg_catalog.regclass::pg_catalog.text;",
    ] {
        assert!(rows(&lake, &nothing.replace('$', oid)).is_empty(), "{nothing}");
    }
    let functions = "SELECT n.nspname as \"Schema\", p.proname as \"Name\", \
         pg_catalog.pg_get_function_result(p.oid) as \"Result data type\", \
         pg_catalog.pg_get_function_arguments(p.oid) as \"Argument data types\", \
         CASE p.prokind WHEN 'a' THEN 'agg' WHEN 'w' THEN 'window' WHEN 'p' THEN 'proc' ELSE 'func' END as \"Type\" \
         FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE pg_catalog.pg_function_is_visible(p.oid) AND n.nspname <> 'pg_catalog' \
         AND n.nspname <> 'information_schema' ORDER BY 1, 2, 4;";
    let functions = rows(&lake, functions);
    assert_eq!(functions.len(), query::functions::definitions().len());
    assert!(functions.iter().any(|row| row[1] == "bootstrap_ci" && row[4] == "agg"), "{functions:?}");
    let databases = "SELECT d.datname as \"Name\", pg_catalog.pg_get_userbyid(d.datdba) as \"Owner\", \
         pg_catalog.pg_encoding_to_char(d.encoding) as \"Encoding\", d.datcollate, d.datctype, d.daticulocale, \
         CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END, \
         pg_catalog.array_to_string(d.datacl, E'\\n') AS \"Access privileges\" \
         FROM pg_catalog.pg_database d ORDER BY 1;";
    assert_eq!(rows(&lake, databases)[0][..3], ["runlake", "runlake", "UTF8"]);
    let roles = "SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, \
         r.rolconnlimit, r.rolvaliduntil, ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m \
         JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid) WHERE m.member = r.oid) as memberof \
         , r.rolreplication , r.rolbypassrls FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1;";
    assert_eq!(column(&lake, roles, 0), ["runlake"]);
    let size = "SELECT c.relname, pg_catalog.pg_size_pretty(pg_catalog.pg_table_size(c.oid)) as \"Size\", \
         pg_catalog.obj_description(c.oid, 'pg_class') as \"Description\" FROM pg_catalog.pg_class c LIMIT 1";
    assert_eq!(rows(&lake, size).len(), 1);
}

/// What the JDBC driver asks for tables, columns and types, which DBeaver and most BI tools go through.
#[test]
fn jdbc_finds_tables_columns_and_types() {
    let lake = Lake::small(Kept::InMemory);
    let tables = "SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, \
         CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true THEN CASE \
         WHEN n.nspname = 'pg_catalog' OR n.nspname = 'information_schema' THEN CASE c.relkind \
         WHEN 'r' THEN 'SYSTEM TABLE' WHEN 'v' THEN 'SYSTEM VIEW' ELSE NULL END \
         ELSE CASE c.relkind WHEN 'r' THEN 'TEMPORARY TABLE' ELSE NULL END END \
         WHEN false THEN CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' ELSE NULL END ELSE NULL END \
         AS TABLE_TYPE, d.description AS REMARKS, '' as TYPE_CAT, '' as TYPE_SCHEM, '' as TYPE_NAME, \
         '' AS SELF_REFERENCING_COL_NAME, '' AS REF_GENERATION \
         FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d \
         ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass) \
         WHERE c.relnamespace = n.oid AND n.nspname LIKE 'public' AND (false OR ( c.relkind = 'r' \
         AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ) ) \
         ORDER BY TABLE_TYPE,TABLE_SCHEM,TABLE_NAME";
    assert_eq!(column(&lake, tables, 2), OF_PUBLIC);
    let columns = "SELECT * FROM (SELECT n.nspname,c.relname,a.attname,a.atttypid,a.attnotnull OR \
         (t.typtype = 'd' AND t.typnotnull) AS attnotnull,a.atttypmod,a.attlen,t.typtypmod,\
         row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, \
         nullif(a.attidentity, '') as attidentity,nullif(a.attgenerated, '') as attgenerated,\
         pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc,dsc.description,t.typbasetype,t.typtype \
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) \
         JOIN pg_catalog.pg_attribute a ON (a.attrelid=c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) \
         LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid=def.adrelid AND a.attnum = def.adnum) \
         LEFT JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) \
         LEFT JOIN pg_catalog.pg_class dc ON (dc.oid=dsc.classoid AND dc.relname='pg_class') \
         LEFT JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace=dn.oid AND dn.nspname='pg_catalog') \
         WHERE c.relkind in ('r','p','v','f','m') and a.attnum > 0 AND NOT a.attisdropped \
         AND n.nspname LIKE 'public' AND c.relname LIKE 'points') c WHERE true ORDER BY nspname,c.relname,attnum";
    let columns = column(&lake, columns, 2);
    assert!(columns.iter().any(|name| name == "metric") && columns.iter().any(|name| name == "value"));
    let types = "SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid \
         FROM pg_catalog.pg_type LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r from pg_namespace as ns \
         join ( select s.r, (current_schemas(false))[s.r] as nspname \
         from generate_series(1, array_upper(current_schemas(false), 1)) as s(r) ) as r using ( nspname ) ) as sp \
         ON sp.nspoid = typnamespace WHERE pg_type.oid = 1016 ORDER BY sp.r, pg_type.oid DESC";
    assert_eq!(rows(&lake, types), [["true", "b", "_int8", "1016"]]);
    let element = "SELECT e.typdelim FROM pg_catalog.pg_type t, pg_catalog.pg_type e WHERE t.oid = 1016 and \
         t.typelem = e.oid";
    assert_eq!(rows(&lake, element), [[","]]);
}

/// What DBeaver asks beyond the driver.
#[test]
fn dbeaver_builds_its_tree() {
    let lake = Lake::small(Kept::InMemory);
    let schemas = "SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN \
         pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass \
         ORDER BY nspname";
    assert!(column(&lake, schemas, 2).contains(&"vision".to_owned()));
    for (sql, at_least) in [
        ("SELECT current_schema(),session_user", 1),
        ("SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datname='runlake'", 1),
        ("SELECT * FROM pg_catalog.pg_settings where name='standard_conforming_strings'", 1),
        ("SELECT * FROM pg_catalog.pg_enum WHERE 1<>1 LIMIT 1", 0),
        ("SELECT reltype FROM pg_catalog.pg_class WHERE 1<>1 LIMIT 1", 0),
        (
            "SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, \
             d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem \
             LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d \
             ON t.oid=d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') \
             AND (et.typcategory IS NULL OR et.typcategory <> 'C')",
            30,
        ),
        (
            "SELECT c.oid,c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr, \
             pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM pg_catalog.pg_class c \
             LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 \
             AND d.classoid='pg_class'::regclass WHERE c.relnamespace=2200 AND c.relkind not in ('i','I','c')",
            9,
        ),
        (
            "SELECT i.*,i.indkey as keys,c.relname,c.relnamespace,c.relam,c.reltablespace,tc.relname as tabrelname,\
             dsc.description,pg_catalog.pg_get_expr(i.indpred, i.indrelid) as pred_expr \
             FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid=i.indexrelid \
             INNER JOIN pg_catalog.pg_class tc ON tc.oid=i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc \
             ON i.indexrelid=dsc.objoid WHERE i.indrelid=1 ORDER BY tabrelname, c.relname",
            0,
        ),
        (
            "SELECT c.oid,c.*,t.relname as tabrelname,rt.relnamespace as refnamespace,d.description \
             FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid=c.conrelid \
             LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid LEFT OUTER JOIN pg_catalog.pg_description d \
             ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass WHERE c.conrelid=1 \
             ORDER BY c.oid",
            0,
        ),
        (
            "SELECT string_agg(word, ',' ) from pg_catalog.pg_get_keywords() where word <> ALL \
             ('{a,abs,absolute,action,ada,add,admin}'::text[])",
            1,
        ),
        ("SELECT version()", 1),
    ] {
        assert!(rows(&lake, sql).len() >= at_least, "{sql}");
    }
}

/// What Grafana's query builder asks.
#[test]
fn grafana_lists_tables_and_columns() {
    let lake = Lake::small(Kept::InMemory);
    let on_path = "quote_ident(table_schema) IN ( SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user \
         ELSE trim(s[i]) END FROM generate_series( array_lower(string_to_array(current_setting('search_path'),','),1), \
         array_upper(string_to_array(current_setting('search_path'),','),1) ) as i, \
         string_to_array(current_setting('search_path'),',') s )";
    let tables = format!(
        "SELECT CASE WHEN {on_path} THEN quote_ident(table_name) \
         ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" \
         FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN \
         ('information_schema', 'pg_catalog', '_timescaledb_cache') \
         ORDER BY CASE WHEN {on_path} THEN 0 ELSE 1 END, 1"
    );
    let tables = column(&lake, &tables, 0);
    assert_eq!(tables[..OF_PUBLIC.len()], OF_PUBLIC);
    assert!(tables.contains(&"vision.runs".to_owned()), "{tables:?}");
    let columns = format!(
        "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns \
         WHERE CASE WHEN array_length(parse_ident('points'),1) = 2 \
         THEN quote_ident(table_schema) = (parse_ident('points'))[1] \
         AND quote_ident(table_name) = (parse_ident('points'))[2] \
         ELSE quote_ident(table_name) = 'points' AND {on_path} END"
    );
    let columns = rows(&lake, &columns);
    assert!(columns.contains(&vec!["time".to_owned(), "timestamp with time zone".to_owned()]), "{columns:?}");
    assert!(columns.contains(&vec!["value".to_owned(), "double precision".to_owned()]));
    assert_eq!(
        column(&lake, "SELECT current_setting('server_version_num')::int/100 as version", 0),
        ["1500"]
    );
}

/// What SQLAlchemy's inspector asks.
#[test]
fn sqlalchemy_reflects() {
    let lake = Lake::small(Kept::InMemory);
    let value = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let schemas = "SELECT pg_catalog.pg_namespace.nspname FROM pg_catalog.pg_namespace \
         WHERE (pg_catalog.pg_namespace.nspname NOT LIKE $1::VARCHAR || '%' ESCAPE '/') \
         ORDER BY pg_catalog.pg_namespace.nspname";
    let asked = QueryOptions { parameters: vec![value("pg/_")], ..options() };
    let schemas = texts(&lake.ask_with(schemas, asked).unwrap());
    assert_eq!(schemas.concat(), ["information_schema", "nlp", "public", "system", "vision"]);
    let tables = "SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace \
         ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace \
         WHERE pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p']) AND pg_catalog.pg_class.relpersistence != 't' \
         AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog'";
    let mut tables = column(&lake, tables, 0);
    tables.sort();
    assert_eq!(tables, OF_PUBLIC);
    let comment = "SELECT pg_catalog.pg_class.relname, pg_catalog.pg_description.description \
         FROM pg_catalog.pg_class LEFT OUTER JOIN pg_catalog.pg_description \
         ON pg_catalog.pg_class.oid = pg_catalog.pg_description.objoid AND pg_catalog.pg_description.objsubid = 0 \
         AND pg_catalog.pg_description.classoid = CAST($1 AS REGCLASS) JOIN pg_catalog.pg_namespace \
         ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname IN ($2)";
    let asked = QueryOptions { parameters: vec![value("pg_catalog.pg_class"), value("runs")], ..options() };
    assert_eq!(texts(&lake.ask_with(comment, asked).unwrap()).len(), 3, "one in each schema that has it");
}

#[test]
fn nobody_sees_projects_of_others() {
    let lake = Lake::small(Kept::InMemory);
    let access = Access::Projects(Arc::new(BTreeSet::from([ProjectName::new("nlp").unwrap()])));
    for sql in [
        "SELECT nspname FROM pg_namespace",
        "SELECT relname, nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
        "SELECT schemaname, tablename FROM pg_tables",
        "SELECT table_schema, table_name, column_name FROM information_schema.columns",
        "SELECT table_schema FROM information_schema.tables",
        "SELECT schema_name FROM information_schema.schemata",
        "SELECT project FROM runs",
    ] {
        let seen = texts(&lake.ask_with(sql, QueryOptions { access: access.clone(), ..options() }).unwrap());
        assert!(!seen.is_empty());
        assert!(!seen.concat().contains(&"vision".to_owned()), "{sql}: {seen:?}");
    }
    let foreign =
        lake.ask_with("SELECT 1 FROM vision.runs", QueryOptions { access, ..options() }).unwrap_err();
    assert_eq!(foreign.code(), "sql.unknown_table");
}

#[test]
fn other_doors_have_none_of_it() {
    let lake = Lake::small(Kept::InMemory);
    for sql in ["SELECT 1 FROM pg_class", "SELECT 1 FROM pg_catalog.pg_class"] {
        assert_eq!(lake.ask(sql).unwrap_err().code(), "sql.unknown_table", "{sql}");
    }
    assert_eq!(lake.ask("SELECT pg_backend_pid()").unwrap_err().code(), "sql.unknown_function");
}

#[test]
fn the_dialect_opens_nothing() {
    let lake = Lake::small(Kept::InMemory);
    for sql in [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_catalog.pg_sleep(1000)",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "INSERT INTO pg_catalog.pg_class VALUES (1)",
        "CREATE TABLE pg_catalog.x AS SELECT 1",
        "UPDATE pg_settings SET setting = 'x'",
        "DELETE FROM pg_class",
        "DROP SCHEMA pg_catalog",
        "EXPLAIN ANALYZE DELETE FROM runs",
        "SELECT 1; SELECT 2",
        "SET datafusion.catalog.location = '/etc'",
        "SELECT * INTO x FROM runs",
        "WITH x AS (DELETE FROM runs RETURNING *) SELECT * FROM x",
    ] {
        assert!(lake.ask_with(sql, options()).is_err(), "{sql}");
    }
    let terms = vec!["1"; 20_000].join("+");
    let error = lake.ask_with(&format!("SELECT {terms} FROM pg_class"), options()).unwrap_err();
    assert_eq!(error.code(), "sql.too_complex");
    // Names that make rewriting stumble.
    for sql in [
        "SELECT (SELECT) FROM pg_class",
        "SELECT *, * FROM pg_class, pg_class",
        "SELECT a.*, b.* FROM pg_class a, pg_class b LIMIT 1",
        "SELECT ''::regclass",
        "SELECT '{'::text[]",
        "SELECT array(SELECT * FROM pg_class)",
        "SELECT 1 FROM unnest(x.y.z.w) LIMIT 1",
    ] {
        if let Err(QueryError::Internal { message }) = lake.ask_with(sql, options()) {
            panic!("{sql}: {message}");
        }
    }
}

fn described(lake: &Lake, sql: &str, declared: Vec<Option<DataType>>) -> query::Description {
    block_on(describe(&FACTORY, &lake.snapshot, sql, options(), declared))
        .unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

#[test]
fn parameters_have_the_types_that_the_statement_asks_for() {
    let lake = Lake::small(Kept::InMemory);
    for (sql, expected) in [
        (
            "SELECT value FROM points WHERE step > $1 AND metric = $2",
            vec![DataType::Int64, DataType::Utf8View],
        ),
        ("SELECT $2, $1", vec![DataType::Utf8, DataType::Utf8]),
        ("SELECT name FROM runs LIMIT $1 OFFSET $2", vec![DataType::Int64, DataType::Int64]),
        ("SELECT $1::double precision", vec![DataType::Float64]),
        ("SELECT 1 FROM points WHERE metric = ANY($1)", vec![DataType::new_list(DataType::Utf8, true)]),
        // The statement is emptied, and still takes what is written in it.
        ("SELECT indrelid FROM pg_index WHERE indrelid IN ($1, $2)", vec![DataType::Utf8, DataType::Utf8]),
    ] {
        assert_eq!(described(&lake, sql, Vec::new()).parameters, expected, "{sql}");
    }
    let declared = described(&lake, "SELECT $1 AS x", vec![Some(DataType::Float64)]);
    assert_eq!(declared.columns.unwrap().field(0).data_type(), &DataType::Float64);
    assert_eq!(described(&lake, "SET runlake.seed = 7", Vec::new()).columns, None);
}

#[test]
fn parameters_are_values_and_nothing_else() {
    let lake = Lake::small(Kept::Both);
    let asked = |sql: &str, parameters: Vec<ArrayRef>| {
        let options = QueryOptions { parameters, ..QueryOptions::default() };
        lake.ask_with(sql, options).map(|batches| texts(&batches))
    };
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let number = |number: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![number])) };
    let sql = "SELECT count(*) FROM points WHERE metric = $1 AND step >= $2";
    assert_eq!(asked(sql, vec![text("val_loss"), number(10)]).unwrap(), [["6"]]);
    assert_eq!(asked(sql, vec![text("x' OR '1'='1"), number(0)]).unwrap(), [["0"]]);
    let marks = "SELECT count(*) FROM points WHERE metric = ? AND step >= ?";
    assert_eq!(asked(marks, vec![text("val_loss"), number(10)]).unwrap(), [["6"]]);
    let steps: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(5), Some(30)])]));
    assert_eq!(asked("SELECT count(*) FROM points WHERE step = ANY($1)", vec![steps]).unwrap(), [["2"]]);
    let nan: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
    assert_eq!(asked("SELECT $1", vec![nan]).unwrap(), [["NaN"]]);
    for (sql, parameters) in [
        (sql, vec![text("val_loss")]),
        ("SELECT $0", vec![]),
        ("SELECT $99999", vec![]),
        ("SELECT $x", vec![]),
    ] {
        assert_eq!(asked(sql, parameters).unwrap_err().code(), "sql.invalid", "{sql}");
    }
}

#[test]
fn columns_are_described_as_they_are_sent() {
    let lake = Lake::small(Kept::Both);
    for sql in [
        "SELECT * FROM runs",
        "SELECT * FROM points",
        "SELECT params.lr, metrics.val_loss, count(*) FROM runs GROUP BY 1, 2",
        "SELECT mean_ci(value) FROM points",
        "SELECT oid, relname, relkind, relacl FROM pg_class",
        "EXPLAIN SELECT 1",
        "SELECT 1 UNION ALL SELECT 2.5",
    ] {
        let described = described(&lake, sql, Vec::new()).columns.unwrap();
        let sent = block_on(query::run(&FACTORY, &lake.snapshot, sql, options())).unwrap().schema;
        let types = |schema: &arrow::datatypes::Schema| -> Vec<(String, PgType)> {
            schema.fields().iter().map(|field| (field.name().clone(), PgType::of(field))).collect()
        };
        assert_eq!(types(&described), types(&sent), "{sql}");
    }
    let catalog = described(&lake, "SELECT oid, relkind, relname FROM pg_class", Vec::new()).columns.unwrap();
    let kinds: Vec<PgKind> = catalog.fields().iter().map(|field| PgType::of(field).kind).collect();
    assert_eq!(kinds, [PgKind::Oid, PgKind::Char, PgKind::Text]);
}
