//! What a flush promises about the numbers of the tables, also when the one before ended between two of its commits.

use std::path::Path;
use std::sync::Arc;

use model::schema::Table;
use store::catalog::Catalog;
use store::disk::Fault;

use super::life::{Life, Operation, ROOT};
use super::power::young_lake;

/// The power fails between the commits of `series` and `points`; what is written next has no points. The flush of it
/// must not leave `points` ahead of `series`.
#[tokio::test]
async fn points_are_never_ahead_of_series() {
    let mut prepared = Life::new(young_lake().await, 2);
    prepared.open().await.unwrap();
    prepared.perform(Operation::Apply).await;
    prepared.perform(Operation::Append).await;
    prepared.close().await;
    let copied = |context: String| {
        let mut life = Life::new(prepared.disk.copy(), 2);
        (life.model, life.context) = (prepared.model.clone(), context);
        life
    };
    let mut whole = copied("the whole flush".to_owned());
    whole.open().await.unwrap();
    let before = whole.disk.operations();
    whole.perform(Operation::Flush).await;
    let operations = whole.disk.operations() - before;
    let mut between = 0;
    for back in (1..operations).step_by(2) {
        let at = operations - back;
        let mut life = copied(format!("cut at operation {at} of {operations} of a flush"));
        life.open().await.unwrap();
        life.disk.fail_at(life.disk.operations() + at, Fault::PowerCut);
        let _ = life.store().flush().await;
        life.die();
        life.disk.crash_to_synced();
        let catalog = Catalog::open_on(Path::new(ROOT), Arc::new(life.disk.process())).unwrap();
        let (series, points) =
            (catalog.load(Table::Series).await.unwrap(), catalog.load(Table::Points).await.unwrap());
        if series.last_seq < points.last_seq || series.files.is_empty() {
            break;
        }
        if series.last_seq == points.last_seq {
            continue;
        }
        between += 1;
        life.expect_success();
        life.open().await.unwrap();
        life.perform(Operation::Apply).await;
        life.perform(Operation::Flush).await;
        life.compare().await;
        life.verify().await;
        life.close().await;
    }
    assert!(between > 2, "{between} cuts between the two commits");
}
