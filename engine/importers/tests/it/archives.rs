//! Archives read in place: the same runs and points as from the folder that was packed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use importers::{Limits, Options, SourceKind};
use model::PointColumns;
use zip::write::SimpleFileOptions;

use crate::collector::{Collector, detect, import, import_kinds};

/// Series by the name of their run and metric.
fn by_name(found: &Collector) -> BTreeMap<(String, String), PointColumns> {
    found
        .points
        .iter()
        .map(|((run, metric, _), points)| ((found.runs[run].name.clone(), metric.clone()), points.clone()))
        .collect()
}

fn tar(bytes: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in bytes {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_750_000_000);
        // Set by hand: the builder itself refuses paths that leave the archive.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    std::fs::write(folder.join(name), content).unwrap();
}

#[test]
fn every_kind_in_an_archive_is_what_its_folder_is() {
    let Some(data) = e2e::data() else { return };
    let clients = data.join("clients");
    let folder = tempfile::tempdir().unwrap();
    for (tool, kind) in [
        ("wandb", SourceKind::Wandb),
        ("sacred", SourceKind::Sacred),
        ("dvclive", SourceKind::Dvclive),
        ("neptune", SourceKind::Neptune),
        ("optuna", SourceKind::Optuna),
        ("ray", SourceKind::Ray),
        ("tensorboard", SourceKind::TensorBoard),
    ] {
        let name = format!("{tool}.tar.zst");
        let mut builder = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
        builder.follow_symlinks(false);
        builder.append_dir_all("", clients.join(tool)).unwrap();
        write(folder.path(), &name, &builder.into_inner().unwrap().finish().unwrap());
        let plain = import_kinds(&clients.join(tool), &[kind], &Options::default()).0;
        let (packed, summary) = import_kinds(&folder.path().join(&name), &[kind], &Options::default());
        assert_eq!(packed.runs.len(), plain.runs.len(), "{tool}");
        assert_eq!(
            summary.total.points as usize,
            plain.points.values().map(PointColumns::len).sum::<usize>()
        );
        let values = |found: &Collector| {
            let mut all: Vec<(String, Vec<(i64, u64)>)> = found
                .points
                .iter()
                .map(|((_, metric, _), points)| {
                    (metric.clone(), points.iter().map(|p| (p.step, p.value.to_bits())).collect())
                })
                .collect();
            all.sort();
            all
        };
        assert_eq!(values(&packed), values(&plain), "{tool}");
        for rejection in &packed.rejections {
            assert!(
                rejection.file.starts_with(folder.path().canonicalize().unwrap().join(&name)),
                "{rejection}"
            );
        }
        // Again: the same identities, although the files were laid out elsewhere.
        let again = import_kinds(&folder.path().join(&name), &[kind], &Options::default()).0;
        assert_eq!(again.everything(), packed.everything(), "{tool}");
        let hashes = |path: &Path| -> Vec<String> {
            let sources = detect(path).sources;
            let units = sources.iter().filter(|source| source.kind == kind).flat_map(|source| &source.units);
            units.map(|unit| unit.content_hash(&Limits::default()).unwrap()).collect()
        };
        assert_eq!(hashes(&folder.path().join(&name)), hashes(&folder.path().join(&name)));
    }
}

#[test]
fn zip_tar_and_an_archive_in_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("a/x.csv", SimpleFileOptions::default()).unwrap();
    zip.write_all(b"step,loss\n0,1\n1,2\n").unwrap();
    zip.add_symlink("link.csv", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let zip = zip.finish().unwrap().into_inner();
    let inner = tar(&[("deep.csv", b"step,loss\n7,8\n")]);
    write(folder.path(), "logs.zip", &zip);
    write(folder.path(), "logs.tar", &tar(&[("y.csv", b"step,loss\n3,4\n"), ("inner.tar", &inner)]));
    let (found, _) = import(folder.path());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    let names: Vec<String> = by_name(&found).into_keys().map(|(run, _)| run).collect();
    assert_eq!(names, ["logs.tar/inner.tar/deep", "logs.tar/y", "logs.zip/a/x"]);
    let run = found.run_named("logs.tar/y");
    assert_eq!(run.start_time, Some(1_750_000_000_000_000));
    let source = run.source_run_id.as_deref().unwrap();
    assert!(source.ends_with("/logs.tar/y.csv"), "{source}");
    let left = detect(folder.path()).unrecognised;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].path.ends_with("logs.zip/link.csv") && left[0].reason.contains("no regular file"));
}

#[test]
fn hostile_archives_write_nothing_outside_and_stop_at_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().parent().unwrap().to_owned();
    write(
        folder.path(),
        "up.tar",
        &tar(&[
            ("../runlake-escaped.csv", b"step,loss\n0,1\n"),
            ("/tmp/runlake-escaped.csv", b"step,loss\n0,1\n"),
            ("good.csv", b"step,loss\n0,1\n"),
        ]),
    );
    let cut = tar(&[("first.csv", b"step,loss\n0,1\n"), ("second.csv", &[b' '; 2_000])]);
    write(folder.path(), "cut.tar", &cut[..1_800]);
    write(folder.path(), "broken.zip", b"PK\x03\x04 and nothing else");
    let (found, _) = import(folder.path());
    let names: Vec<&str> = found.runs.values().map(|run| run.name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!parent.join("runlake-escaped.csv").exists() && !Path::new("/tmp/runlake-escaped.csv").exists());
    let left = detect(folder.path()).unrecognised;
    let reasons: Vec<&str> = left.iter().map(|left| left.reason.as_str()).collect();
    assert_eq!(reasons.iter().filter(|reason| reason.contains("leave its folder")).count(), 2, "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| reason.contains("not read further")).count(), 2, "{reasons:?}");
    // Too many files, and one that expands too far.
    let limits = Limits { files: 10, expansion_ratio: 10, ..Limits::default() };
    let many: Vec<(String, &[u8])> =
        (0..20).map(|index| (format!("{index}.csv"), &b"step,loss\n0,1\n"[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let packed = tempfile::tempdir().unwrap();
    write(packed.path(), "many.tar", &tar(&many));
    let reason = |limits: &Limits| match importers::detect(packed.path(), limits) {
        Ok(found) => found.unrecognised.into_iter().map(|left| left.reason).collect::<String>(),
        Err(error) => error.to_string(),
    };
    assert!(reason(&limits).contains("at most 10"), "{}", reason(&limits));
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("bomb.csv", SimpleFileOptions::default()).unwrap();
    for _ in 0..32 {
        zip.write_all(&vec![b'0'; 1 << 20]).unwrap();
    }
    std::fs::remove_file(packed.path().join("many.tar")).unwrap();
    write(packed.path(), "bomb.zip", &zip.finish().unwrap().into_inner());
    assert!(reason(&limits).contains("expands to more than"), "{}", reason(&limits));
}
