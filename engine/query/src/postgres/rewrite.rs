//! What clients of PostgreSQL write that the engine reads differently or not at all, said in its words.
//!
//! Every change keeps the meaning; what has no equal is left to the engine, which says so. A subquery over a table that
//! never has rows here is replaced by what it gives: NULL, false, no rows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName,
    Query, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};

use super::empty_tables::is_empty_table;
use super::functions::identifier_parts;
use super::pg_catalog::{builtin_function, catalog_table_names, namespace_oid, relations};
use super::types::PgType;
use super::{INFORMATION_SCHEMA, PG_CATALOG};
use crate::tables::{Listing, PUBLIC};

/// Rewrites one statement; `listing` gives the schemas and tables of the caller.
pub(crate) fn rewrite(statement: &mut Statement, listing: &dyn Fn() -> Listing) {
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Rewriter { listing });
}

struct Rewriter<'a> {
    listing: &'a dyn Fn() -> Listing,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if without_rows(&query.body) {
            empty(&mut query.body);
            query.order_by = None;
            query.limit_clause = None;
        } else {
            name_twice_named(&mut query.body);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        if let Statement::Query(query) = statement
            && let SetExpr::Select(select) = query.body.as_mut()
        {
            name_as_postgres(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                strip(name)
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        while let Expr::Collate { expr: inner, .. } = expr {
            *expr = std::mem::replace(inner, null());
        }
        let replaced = match expr {
            Expr::Function(function) => {
                strip(&mut function.name);
                match &mut function.args {
                    FunctionArguments::Subquery(query) => Some(array_of(query)),
                    _ => None,
                }
            }
            Expr::Identifier(name) if name.quote_style.is_none() => {
                let special = ["current_schema", "current_role"];
                let found = special.into_iter().find(|special| name.value.eq_ignore_ascii_case(special));
                found.map(|name| call(name, Vec::new()))
            }
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(plain) = parts.last().and_then(|name| operator(name))
                {
                    *op = plain;
                }
                None
            }
            Expr::Cast { expr: inner, data_type, .. } => match inner.as_ref() {
                Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                    by_name(inner, data_type)
                }
                _ => self.cast(inner, data_type),
            },
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                if let Some(escape) = escape_char.take()
                    && escape.value.to_string() != "'\\'"
                {
                    // The engine knows the backslash only.
                    let doubled = call("replace", vec![*pattern.clone(), text("\\"), text("\\\\")]);
                    let escaped = vec![doubled, Expr::Value(escape), text("\\")];
                    **pattern = call("replace", escaped);
                }
                None
            }
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                if let Some(array) = text_of(right).and_then(|text| array_literal(text, false)) {
                    **right = array;
                }
                None
            }
            Expr::Subquery(query) if without_rows(&query.body) => Some(null()),
            Expr::Subquery(query) => {
                first_of_catalog(query);
                None
            }
            Expr::Exists { subquery, negated } if without_rows(&subquery.body) => {
                Some(Expr::Value(Value::Boolean(*negated).with_empty_span()))
            }
            Expr::InSubquery { expr: inner, subquery, negated } => {
                if without_rows(&subquery.body) {
                    // NOT IN nothing is true for every value; IN nothing for none.
                    Some(Expr::Value(Value::Boolean(*negated).with_empty_span()))
                } else if reads_search_path(subquery) {
                    let expr = std::mem::replace(inner, Box::new(null()));
                    Some(Expr::InList { expr, list: vec![text(PUBLIC)], negated: *negated })
                } else {
                    None
                }
            }
            _ => None,
        };
        if let Some(replaced) = replaced {
            *expr = replaced;
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    /// `'runs'::regclass` and its kin, `'{a,b}'::text[]`.
    fn cast(&self, inner: &Expr, data_type: &DataType) -> Option<Expr> {
        let literal = text_of(inner)?;
        if let DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) = data_type {
            let numbers = matches!(
                item.as_ref(),
                DataType::Int(_) | DataType::Integer(_) | DataType::BigInt(_) | DataType::SmallInt(_)
            );
            return array_literal(literal, numbers);
        }
        let name = data_type.to_string().to_lowercase();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        if !matches!(name, "regclass" | "regnamespace" | "regtype" | "regproc") {
            return None;
        }
        if literal.parse::<u32>().is_ok() {
            return Some(number(literal));
        }
        let parts = identifier_parts(literal)?;
        let (schema, last) = match parts.as_slice() {
            [last] => (None, last.as_str()),
            [schema, last] => (Some(schema.as_str()), last.as_str()),
            _ => return None,
        };
        let oid = match name {
            "regproc" => builtin_function(last),
            "regnamespace" => {
                let known = [PG_CATALOG, INFORMATION_SCHEMA].contains(&last)
                    || (self.listing)().iter().any(|(schema, _)| schema == last);
                known.then(|| namespace_oid(last))
            }
            "regtype" => PgType::from_name(last).map(PgType::oid),
            _ => {
                let fits =
                    |of: &str| schema.map_or([PUBLIC, PG_CATALOG].contains(&of), |schema| schema == of);
                let found =
                    relations((self.listing)()).into_iter().find(|r| r.name == last && fits(&r.schema));
                found.map(|relation| relation.oid)
            }
        };
        // What is not there is an error in PostgreSQL; NULL equals nothing, so clients find nothing.
        Some(oid.map_or_else(null, |oid| number(&oid.to_string())))
    }
}

/// `$1::regclass` and its kin: what the name means is known when the value is.
fn by_name(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    let name = data_type.to_string().to_lowercase();
    let function = match name.strip_prefix("pg_catalog.").unwrap_or(&name) {
        "regclass" => "to_regclass",
        "regnamespace" => "to_regnamespace",
        "regtype" => "to_regtype",
        _ => return None,
    };
    Some(call(function, vec![inner.clone()]))
}

/// `array(SELECT x …)`, which the engine has as an aggregate. Of no rows it gives NULL, not an empty list.
fn array_of(query: &mut Query) -> Expr {
    if without_rows(&query.body) {
        return Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(null()),
            data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)),
            array: false,
            format: None,
        };
    }
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut()
        && let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
            select.projection.as_mut_slice()
    {
        *expr = call("array_agg", vec![expr.clone()]);
        query.order_by = None;
    }
    Expr::Subquery(Box::new(query))
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).with_empty_span())
}

fn number(value: &str) -> Expr {
    Expr::Value(Value::Number(value.to_owned(), false).with_empty_span())
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The engine knows functions by their bare name.
fn strip(name: &mut ObjectName) {
    if let [schema, last] = name.0.as_slice()
        && schema.as_ident().is_some_and(|schema| schema.value.eq_ignore_ascii_case(PG_CATALOG))
    {
        *name = ObjectName(vec![last.clone()]);
    }
}

fn operator(name: &str) -> Option<BinaryOperator> {
    Some(match name {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        _ => return None,
    })
}

/// `{a,"b c"}` as a list; `None` when it is none, or a list of lists.
fn array_literal(literal: &str, numbers: bool) -> Option<Expr> {
    let inner = literal.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let mut characters = inner.chars().peekable();
    while characters.peek().is_some() {
        let mut element = String::new();
        let mut quoted = false;
        loop {
            match characters.next() {
                None => break,
                Some(',') if !quoted => break,
                Some('{' | '}') if !quoted => return None,
                Some('"') => quoted = !quoted,
                Some('\\') => element.push(characters.next()?),
                Some(other) => element.push(other),
            }
        }
        let element = element.trim();
        elements.push(match element {
            "NULL" | "null" => null(),
            _ if numbers => {
                element.parse::<i64>().ok()?;
                number(element)
            }
            _ => text(element),
        });
    }
    Some(Expr::Array(Array { elem: elements, named: true }))
}

/// The table of `pg_catalog` that a name means.
fn catalog_table(name: &ObjectName) -> Option<&str> {
    let mut parts = name.0.iter().rev().filter_map(|part| part.as_ident());
    let last = parts.next()?;
    match parts.next() {
        Some(schema) => schema.value.eq_ignore_ascii_case(PG_CATALOG).then_some(&last.value),
        None => catalog_table_names().contains(&last.value.as_str()).then_some(&last.value),
    }
}

fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => catalog_table(name).is_some_and(is_empty_table),
        TableFactor::Table { name, args: Some(arguments), .. } => {
            let unnests =
                name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| name.value == "unnest");
            unnests && arguments.args.iter().any(|argument| is_unset_list(&argument.to_string()))
        }
        TableFactor::UNNEST { array_exprs, .. } => {
            array_exprs.iter().any(|array| is_unset_list(&array.to_string()))
        }
        _ => false,
    }
}

/// Whether this is a column of the catalog with a list that is NULL in every row: rights and options.
fn is_unset_list(column: &str) -> bool {
    let column = column.rsplit('.').next().unwrap_or(column);
    ["acl", "options", "config"].iter().any(|end| column.ends_with(end))
        && column.chars().all(|c| c.is_ascii_lowercase())
}

/// Whether FROM gives no rows whatever is in the other tables.
fn is_empty_from(from: &TableWithJoins) -> bool {
    let mut empty = is_empty_factor(&from.relation);
    for join in &from.joins {
        let right = is_empty_factor(&join.relation);
        empty = match join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => empty || right,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => empty,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
            _ => empty && right,
        };
    }
    empty
}

/// Whether a select gives no rows because a table that it reads never has any.
fn is_select_without_rows(select: &Select) -> bool {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    select.from.iter().any(is_empty_from)
        && select.into.is_none()
        && select.projection.iter().all(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                grouped || !has_aggregate(expr)
            }
            _ => false,
        })
}

fn without_rows(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_select_without_rows(select),
        SetExpr::Query(query) => without_rows(&query.body),
        SetExpr::SetOperation { left, right, .. } => without_rows(left) && without_rows(right),
        _ => false,
    }
}

fn has_aggregate(expr: &Expr) -> bool {
    const AGGREGATES: [&str; 10] =
        ["array_agg", "avg", "bool_and", "bool_or", "count", "every", "max", "min", "string_agg", "sum"];
    struct Finder;
    impl VisitorMut for Finder {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            match expr {
                // Its aggregates are of its own rows.
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => *expr = null(),
                Expr::Function(function) => {
                    let name = function.name.0.last().and_then(|part| part.as_ident());
                    if name.is_some_and(|name| AGGREGATES.contains(&name.value.to_lowercase().as_str())) {
                        return ControlFlow::Break(());
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    VisitMut::visit(&mut expr.clone(), &mut Finder).is_break()
}

/// Leaves of a body without rows only its columns.
fn empty(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => empty_select(select),
        SetExpr::Query(query) => {
            empty(&mut query.body);
            query.order_by = None;
            query.limit_clause = None;
        }
        SetExpr::SetOperation { left, right, .. } => {
            empty(left);
            empty(right);
        }
        _ => {}
    }
}

fn empty_select(select: &mut Select) {
    let mut names: Vec<String> = Vec::new();
    for item in &select.projection {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(expr) => name_of(expr).unwrap_or_else(|| "?column?".to_owned()),
            _ => continue,
        };
        names.push(unused(&names, name));
    }
    let column =
        |name: String| SelectItem::ExprWithAlias { expr: null(), alias: Ident::with_quote('"', name) };
    *select = Select {
        select_token: AttachedToken::empty(),
        projection: names.into_iter().map(column).collect(),
        selection: Some(Expr::Value(Value::Boolean(false).with_empty_span())),
        from: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        having: None,
        distinct: None,
        sort_by: Vec::new(),
        named_window: Vec::new(),
        qualify: None,
        flavor: SelectFlavor::Standard,
        ..select.clone()
    };
}

fn unused(taken: &[String], name: String) -> String {
    let mut free = name.clone();
    let mut number = 1;
    while taken.contains(&free) {
        number += 1;
        free = format!("{name}_{number}");
    }
    free
}

/// The name that PostgreSQL gives to a column.
fn name_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.clone()),
        Expr::Function(function) => function.name.0.last()?.as_ident().map(|name| name.value.clone()),
        Expr::Cast { expr, data_type, .. } => {
            let plain = || PgType::from_name(&data_type.to_string().to_lowercase()).map(PgType::name);
            name_of(expr).or_else(plain)
        }
        Expr::Collate { expr, .. } => name_of(expr),
        Expr::Case { .. } => Some("case".to_owned()),
        _ => None,
    }
}

/// Columns that are not named get the names that PostgreSQL gives: of the function, or of the key.
fn name_as_postgres(select: &mut Select) {
    let plain =
        |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    if !select.projection.iter().all(plain) {
        return;
    }
    let mut taken: Vec<String> = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => taken.push(alias.value.clone()),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => taken.push(name.value.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) if !is_key(parts) => {
                taken.extend(parts.last().map(|name| name.value.clone()));
            }
            _ => {}
        }
    }
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = match expr {
            Expr::Identifier(_) => continue,
            Expr::CompoundIdentifier(parts) if !is_key(parts) => continue,
            _ => name_of(expr).unwrap_or_else(|| "?column?".to_owned()),
        };
        let name = unused(&taken, name);
        taken.push(name.clone());
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
    }
}

/// Whether this is the key of a struct, as `params.lr`.
fn is_key(parts: &[Ident]) -> bool {
    let holder = parts.len().checked_sub(2).and_then(|at| parts.get(at));
    holder.is_some_and(|holder| ["params", "tags", "metrics"].contains(&holder.value.as_str()))
}

/// `SELECT n.oid, n.* …` has a column twice, and `SELECT NULL, NULL …` a name; the engine wants each name once.
fn name_twice_named(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_twice_named_in(select),
        SetExpr::SetOperation { left, right, .. } => {
            name_twice_named(left);
            name_twice_named(right);
        }
        _ => {}
    }
}

fn name_twice_named_in(select: &mut Select) {
    let mut of_all = false;
    let mut of_tables: Vec<String> = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(_) => of_all = true,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                of_tables.push(name.to_string());
            }
            _ => {}
        }
    }
    let mut seen: Vec<String> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let shown = expr.to_string();
        let repeated = match expr {
            Expr::Identifier(_) => of_all || !of_tables.is_empty(),
            Expr::CompoundIdentifier(parts) => {
                let table: Vec<String> =
                    parts.iter().take(parts.len() - 1).map(ToString::to_string).collect();
                of_all || of_tables.contains(&table.join("."))
            }
            _ => false,
        };
        if repeated || seen.contains(&shown) {
            let name = name_of(expr).unwrap_or_else(|| "column".to_owned());
            let alias = Ident::with_quote('"', unused(&seen, format!("{name}_2")));
            seen.push(alias.value.clone());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        } else {
            seen.push(shown);
        }
    }
}

/// A subquery that asks the catalog for one value: the engine wants to see that there is only one.
fn first_of_catalog(query: &mut Query) {
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return;
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let of_catalog = |factor: &TableFactor| match factor {
        TableFactor::Table { name, args: None, .. } => catalog_table(name).is_some(),
        _ => false,
    };
    let only_catalog = !select.from.is_empty()
        && select.from.iter().all(|from| {
            of_catalog(&from.relation) && from.joins.iter().all(|join| of_catalog(&join.relation))
        });
    let plain = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if !only_catalog || !plain || select.distinct.is_some() {
        return;
    }
    if let [item] = select.projection.as_mut_slice() {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }
                if !has_aggregate(expr) =>
            {
                *expr = call("first_value", vec![expr.clone()]);
                query.order_by = None;
            }
            _ => {}
        }
    }
}

/// Whether a subquery asks for the schemas of the search path, as Grafana does.
fn reads_search_path(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let of_search_path = |from: &TableWithJoins| from.to_string().contains("current_setting('search_path')");
    select.from.iter().any(of_search_path)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn rewritten(sql: &str) -> String {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0);
        rewrite(&mut statement, &|| vec![(PUBLIC.to_owned(), vec!["runs".to_owned()])]);
        statement.to_string()
    }

    #[test]
    fn what_only_postgresql_writes_is_said_plainly() {
        for (sql, expected) in [
            ("SELECT pg_catalog.version()", "SELECT version() AS \"version\""),
            ("SELECT current_schema AS s", "SELECT current_schema() AS s"),
            ("SELECT a COLLATE pg_catalog.default FROM t", "SELECT a AS \"a\" FROM t"),
            ("SELECT a OPERATOR(pg_catalog.~) 'x' FROM t", "SELECT a ~ 'x' AS \"?column?\" FROM t"),
            ("SELECT $1::regclass AS x", "SELECT to_regclass($1) AS x"),
            (
                "SELECT a WHERE a NOT LIKE $1 || '%' ESCAPE '/'",
                "SELECT a WHERE a NOT LIKE replace(replace($1 || '%', '\\', '\\\\'), '/', '\\')",
            ),
            ("SELECT '7'::regclass AS x", "SELECT 7 AS x"),
            ("SELECT 'pg_class'::regclass AS x", "SELECT 1259 AS x"),
            ("SELECT 'nothing'::regclass AS x", "SELECT NULL AS x"),
            ("SELECT 'pg_catalog.array_in'::regproc AS x", "SELECT 750 AS x"),
            ("SELECT '{a,\"b c\",NULL}'::text[] AS x", "SELECT ARRAY['a', 'b c', NULL] AS x"),
            ("SELECT '{1,-2}'::int[] AS x", "SELECT ARRAY[1, -2] AS x"),
            ("SELECT a WHERE 'a' <> ALL('{a,b}')", "SELECT a WHERE 'a' <> ALL(ARRAY['a', 'b'])"),
            ("SELECT * FROM pg_catalog.pg_get_keywords()", "SELECT * FROM pg_get_keywords()"),
        ] {
            assert_eq!(rewritten(sql), expected, "{sql}");
        }
    }

    #[test]
    fn tables_without_rows_give_none() {
        for (sql, expected) in [
            (
                "SELECT (SELECT x FROM pg_attrdef d WHERE d.adrelid = a.o) AS x FROM a",
                "SELECT NULL AS x FROM a",
            ),
            ("SELECT a WHERE NOT EXISTS (SELECT 1 FROM pg_index)", "SELECT a WHERE true"),
            ("SELECT a WHERE a IN (SELECT indexrelid FROM pg_index)", "SELECT a WHERE false"),
            (
                "SELECT array(SELECT x FROM pg_catalog.unnest(c.reloptions) x) AS o FROM pg_class AS c",
                "SELECT CAST(NULL AS TEXT[]) AS o FROM pg_class AS c",
            ),
            (
                "SELECT p.polname, array(SELECT 1) FROM pg_policy p JOIN x ON true ORDER BY p.polname",
                "SELECT NULL AS \"polname\", NULL AS \"array\" WHERE false",
            ),
            (
                "SELECT a, NULL, NULL FROM pg_index UNION SELECT b, NULL, NULL FROM pg_trigger ORDER BY 1",
                "SELECT NULL AS \"a\", NULL AS \"?column?\", NULL AS \"?column?_2\" WHERE false \
                 UNION SELECT NULL AS \"b\", NULL AS \"?column?\", NULL AS \"?column?_2\" WHERE false",
            ),
        ] {
            assert_eq!(rewritten(sql), expected, "{sql}");
        }
        // An outer join keeps the rows of the other side, and an aggregate gives one row of nothing.
        for sql in [
            "SELECT c.relname FROM pg_class AS c LEFT JOIN pg_index AS i ON c.oid = i.indrelid",
            "SELECT count(*) AS c FROM pg_index",
            "SELECT max((SELECT 1)) AS c FROM pg_index",
        ] {
            assert_eq!(rewritten(sql), sql);
        }
    }

    #[test]
    fn a_column_that_is_there_twice_gets_a_second_name() {
        assert_eq!(
            rewritten("SELECT n.oid, n.*, d.x FROM pg_namespace n ORDER BY nspname"),
            "SELECT n.oid AS \"oid_2\", n.*, d.x FROM pg_namespace n ORDER BY nspname"
        );
    }

    #[test]
    fn columns_have_the_names_that_postgresql_gives() {
        assert_eq!(
            rewritten("SELECT count(*), max(step), max(value), 1, params.lr, 'x'::text, r.name FROM points"),
            "SELECT count(*) AS \"count\", max(step) AS \"max\", max(value) AS \"max_2\", 1 AS \"?column?\", \
             params.lr AS \"lr\", 'x'::TEXT AS \"text\", r.name FROM points"
        );
    }

    #[test]
    fn statements_about_runs_stay_as_they_are() {
        for sql in [
            "SELECT r.name, run_id FROM runs AS r WHERE status = 'FINISHED' ORDER BY run_id LIMIT 5",
            "SELECT (SELECT max(value) FROM points AS p WHERE p.run_id = r.run_id) AS best FROM runs AS r",
            "SELECT step, value FROM points WHERE metric = ANY($1)",
        ] {
            assert_eq!(rewritten(sql), sql);
        }
    }
}
