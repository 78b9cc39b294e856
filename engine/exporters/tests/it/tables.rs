//! Tables: an export that is imported is what was exported.

use std::path::Path;

use exporters::{Compression, ExportForm, Options};
use proptest::prelude::*;

use crate::collector::{Lake, import};
use crate::random;

/// Text keeps of a NaN no more than its sign.
fn with_plain_nans(lake: &Lake) -> (Lake, u64) {
    let mut plain = lake.clone();
    let mut changed = 0;
    for ((.., value), _) in plain.series.values_mut().flatten() {
        let number = f64::from_bits(*value);
        if number.is_nan() {
            let kept = f64::NAN.copysign(number).to_bits();
            changed += u64::from(kept != *value);
            *value = kept;
        }
    }
    (plain, changed)
}

fn check(lake: &Lake, form: ExportForm, compression: Compression) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let manifest = lake.export(&target, Options { compression, ..Options::new(form) });
    let (expected, changed) = match form {
        ExportForm::Parquet => (lake.clone(), 0),
        _ => with_plain_nans(lake),
    };
    let losses: Vec<_> = manifest.losses.iter().map(|loss| (loss.code.as_str(), loss.count)).collect();
    let counted = if changed > 0 { vec![("value.nan_payload", changed)] } else { vec![] };
    prop_assert_eq!(losses, counted);
    let found = import(&target);
    prop_assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    prop_assert_eq!(&found.lake, &expected);
    let points: usize = lake.series.values().map(Vec::len).sum();
    let counts = (manifest.runs, manifest.series, manifest.points);
    prop_assert_eq!(counts, (lake.runs.len() as u64, lake.series.len() as u64, points as u64));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn parquet_is_the_identity(lake in random::lake()) {
        check(&lake, ExportForm::Parquet, Compression::None)?;
    }

    #[test]
    fn csv_is_the_identity(lake in random::lake()) {
        check(&lake, ExportForm::Csv, Compression::None)?;
    }

    #[test]
    fn json_lines_are_the_identity(lake in random::lake()) {
        check(&lake, ExportForm::Jsonl, Compression::None)?;
    }

    #[test]
    fn packed_text_is_the_identity(lake in random::lake()) {
        check(&lake, ExportForm::Csv, Compression::Gzip)?;
        check(&lake, ExportForm::Jsonl, Compression::Zstd)?;
    }

    #[test]
    fn two_exports_of_a_lake_are_the_same_files(lake in random::lake()) {
        let folder = tempfile::tempdir().unwrap();
        for form in [ExportForm::Parquet, ExportForm::Jsonl, ExportForm::TensorBoard, ExportForm::Mlflow] {
            let targets = ["a", "b"].map(|name| folder.path().join(format!("{form:?}-{name}")));
            targets.iter().for_each(|target| { lake.export(target, Options::new(form)); });
            prop_assert_eq!(contents(&targets[0]), contents(&targets[1]));
        }
    }
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(
                contents(&path).into_iter().map(|(inner, content)| (format!("{name}/{inner}"), content)),
            );
        } else {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_damaged_export_is_survived(
        lake in random::lake(),
        form in prop::sample::select(vec![ExportForm::Parquet, ExportForm::Csv, ExportForm::Jsonl]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        lake.export(&target, Options::new(form));
        let mut files = contents(&target);
        for (file, place, byte) in damage {
            let (_, content) = &mut files[file.index(5)];
            if !content.is_empty() {
                let place = place.index(content.len());
                content[place] = byte;
            }
        }
        for (name, content) in files {
            std::fs::write(target.join(name), content).unwrap();
        }
        // It ends, and hands on nothing that the sink would refuse.
        let _ = std::panic::catch_unwind(|| import(&target)).map_err(|_| TestCaseError::fail("the import panicked"))?;
    }
}
