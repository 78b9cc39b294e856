//! Named arguments: `bootstrap_ci(x, level => 0.9)` leaves out `statistic` and `method`.
//!
//! DataFusion accepts names but no gaps, so a call of one of our functions is put in order before it is planned, with
//! NULL (our "not given") in the gaps; those in FROM too. Calls that do not fit are left alone: the planner words their errors.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Statement, TableFactor,
    Value, VisitMut, VisitorMut,
};

use super::definition::{Definition, FunctionKind};

/// Puts the named arguments of all calls of our functions in order.
pub(crate) fn complete_named_arguments(statement: &mut Statement) {
    let _: ControlFlow<()> = statement.visit(&mut Completer);
}

struct Completer;

impl VisitorMut for Completer {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expression
            && let [name] = call.name.0.as_slice()
            && let Some(name) = name.as_ident()
            && let Some(definition) = definition_of(name)
            && let FunctionArguments::List(list) = &mut call.args
            && let Some(ordered) = in_order(definition, &list.args)
        {
            list.args = ordered;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(call), .. } = table
            && let [ObjectNamePart::Identifier(name)] = name.0.as_mut_slice()
            && let Some(definition) = definition_of(name)
            && definition.kind == FunctionKind::Table
        {
            // The engine takes the name of a function in FROM as it stands, in whatever case.
            definition.name.clone_into(&mut name.value);
            if let Some(ordered) = in_order(definition, &call.args) {
                call.args = ordered;
            }
        }
        ControlFlow::Continue(())
    }
}

fn definition_of(name: &Ident) -> Option<&'static Definition> {
    super::definitions().into_iter().find(|d| is_named(name, d.name))
}

fn is_named(given: &Ident, name: &str) -> bool {
    if given.quote_style.is_some() { given.value == name } else { given.value.eq_ignore_ascii_case(name) }
}

fn in_order(definition: &Definition, arguments: &[FunctionArg]) -> Option<Vec<FunctionArg>> {
    let positional = arguments.iter().take_while(|a| matches!(a, FunctionArg::Unnamed(_))).count();
    if positional == arguments.len() || positional > definition.parameters.len() {
        return None;
    }
    let mut ordered: Vec<Option<FunctionArg>> = vec![None; definition.parameters.len()];
    for (slot, argument) in ordered.iter_mut().zip(&arguments[..positional]) {
        *slot = Some(argument.clone());
    }
    for argument in &arguments[positional..] {
        let FunctionArg::Named { name, arg, .. } = argument else { return None };
        let position = definition.parameters.iter().position(|p| is_named(name, p.name))?;
        if ordered[position].is_some() {
            return None;
        }
        ordered[position] = Some(FunctionArg::Unnamed(arg.clone()));
    }
    let given = ordered.iter().rposition(Option::is_some)? + 1;
    let missing = ordered.iter().zip(definition.parameters).any(|(a, p)| p.required && a.is_none());
    if missing {
        return None;
    }
    let null = || FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(Value::Null.into())));
    Some(ordered.into_iter().take(given).map(|argument| argument.unwrap_or_else(null)).collect())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn completed(sql: &str) -> String {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0);
        complete_named_arguments(&mut statement);
        statement.to_string()
    }

    #[test]
    fn gaps_become_null_and_order_is_restored() {
        assert_eq!(completed("SELECT mean_ci(x, nonfinite => 'drop')"), "SELECT mean_ci(x, NULL, 'drop')");
        assert_eq!(
            completed("SELECT EMA(adjust => false, value => x, alpha => 0.1) OVER (ORDER BY s)"),
            "SELECT EMA(x, NULL, 0.1, NULL, false) OVER (ORDER BY s)"
        );
    }

    #[test]
    fn functions_in_from_take_names_too() {
        assert_eq!(
            completed("SELECT * FROM CURVE(run => 'a', points => 5, metric => 'm') AS c"),
            "SELECT * FROM curve('a', 'm', 5) AS c"
        );
        assert_eq!(completed("SELECT * FROM range(3) AS r"), "SELECT * FROM range(3) AS r");
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_planner() {
        for sql in [
            "SELECT mean_ci(x, typo => 1)",
            "SELECT mean_ci(x, x => 1)",
            "SELECT mean_ci(level => 0.9)",
            "SELECT count(x, y => 1)",
        ] {
            assert_eq!(completed(sql), sql);
        }
    }
}
