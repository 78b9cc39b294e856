//! What users see when a statement is wrong.

use crate::lake::{Kept, Lake};

#[test]
fn errors_point_at_the_place_and_say_what_to_do() {
    let lake = Lake::small(Kept::InMemory);
    let mut shown = String::new();
    for sql in [
        "SELEC 1",
        "SELECT name\nFROM runs\nWHERE status = 'FINISHED' AND",
        "SELECT name FROM runs WHERE (status = 'x'",
        "SELECT name, stauts FROM runs",
        "SELECT r.nme FROM runs r",
        "SELECT * FROM run",
        "SELECT * FROM customers",
        "SELECT * FROM sytem.functions",
        "SELECT bootstap_ci(value) FROM points",
        "SELECT frobnicate(value) FROM points",
        "SELECT metrics.val_los FROM runs",
        "SELECT mean_ci(value, lvel => 0.9) FROM points",
        "SELECT mean_ci() FROM points",
        "SELECT last_by_step(metric, step) FROM points",
        "SELECT name FROM runs GROUP BY status",
        "SELECT name + 1 FROM runs WHERE name > 3 AND nonsense",
        "SELECT run_id FROM runs JOIN points ON true",
        "SELECT 1 / 0",
        "SELECT 'x'::bigint",
        "DROP TABLE runs",
        "SET runlake.sed = 3",
        "SELECT 1; SELECT 2",
    ] {
        let error = match lake.ask(sql) {
            Ok(_) => "no error".to_owned(),
            Err(error) => format!("[{} {}] {error}", error.code(), error.sqlstate()),
        };
        shown.push_str(&format!("> {}\n{error}\n\n", sql.replace('\n', "\n> ")));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn the_place_is_there_for_programs_too() {
    let lake = Lake::small(Kept::InMemory);
    let error = lake.ask("SELECT name,\n  stauts\nFROM runs").unwrap_err();
    let place = error.place().unwrap();
    assert_eq!((place.line, place.column, place.width), (2, 3, 6));
}
