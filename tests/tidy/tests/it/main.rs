//! What a reviewer would otherwise have to look for: arrows between crates, module docs, forbidden names, dead links.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each crate may use of ours, as `ARCHITECTURE.md` draws it. An arrow that is not here fails the test.
const ARROWS: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("proto", &[]),
    ("model", &[]),
    ("store", &["model"]),
    ("analysis", &["kernels", "model"]),
    ("importers", &["model"]),
    ("exporters", &["importers", "model"]),
    ("query", &["analysis", "kernels", "model", "store"]),
    ("runlake", &["analysis", "exporters", "importers", "kernels", "model", "query", "store"]),
    ("server", &["model", "proto", "runlake"]),
    ("calibration", &["analysis", "e2e", "kernels"]),
    ("load", &["datasets", "model", "runlake", "server"]),
    ("cli", &["datasets", "load", "model", "runlake", "server"]),
    ("datasets", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn files(extension: &str) -> Vec<PathBuf> {
    let ignored = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() > 0
            && (name == "target" || name == "node_modules" || (name.starts_with('.') && name != ".ci"))
    };
    walkdir::WalkDir::new(root())
        .into_iter()
        .filter_entry(|entry| !ignored(entry))
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for manifest in files("toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let toml: toml::Table = std::fs::read_to_string(&manifest).unwrap().parse().unwrap();
        let Some(name) = toml.get("package").and_then(|p| p["name"].as_str()) else { continue };
        let Some(allowed) = arrows.get(name) else { continue };
        let dependencies =
            toml.get("dependencies").and_then(|d| d.as_table()).into_iter().flat_map(|d| d.keys());
        for dependency in dependencies.filter(|d| arrows.contains_key(d.as_str())) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} may not use {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = files("rs")
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|path| shown(&path))
        .collect();
    assert!(silent.is_empty(), "these files do not begin with a //! sentence: {silent:#?}");
}

#[test]
fn no_module_is_called_after_nothing() {
    let vague: Vec<_> = files("rs")
        .into_iter()
        .filter(|path| {
            path.iter().any(|part| {
                let stem = Path::new(part).file_stem().unwrap_or_default().to_string_lossy().into_owned();
                matches!(stem.as_str(), "utils" | "util" | "helpers" | "helper" | "common" | "misc")
            })
        })
        .map(|path| shown(&path))
        .collect();
    assert!(vague.is_empty(), "give these a name that says what is in them: {vague:#?}");
}

#[test]
fn no_data_file_names_a_place_on_a_machine() {
    let mut named = Vec::new();
    for path in ["json", "txt", "csv", "yaml", "toml"].into_iter().flat_map(files) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let elsewhere = text.replace("file:///unused", "").contains("file:///");
        if elsewhere || text.contains(&root().display().to_string()) {
            named.push(shown(&path));
        }
    }
    assert!(named.is_empty(), "these files were made on somebody's machine and say where: {named:#?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for document in files("md") {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in link_targets(&text) {
            let path = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:") || path.is_empty();
            if !outside && !document.parent().unwrap().join(path).exists() {
                dead.push(format!("{}: {target}", shown(&document)));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// The targets of `[text](target)`, outside of code blocks.
fn link_targets(markdown: &str) -> Vec<String> {
    let mut in_code = false;
    let mut targets = Vec::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            if let Some(end) = part.find(')') {
                targets.push(part[..end].trim().to_owned());
            }
        }
    }
    targets
}

#[test]
fn versions_stand_in_one_place() {
    let mut wrong = Vec::new();
    for manifest in files("toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let toml: toml::Table = std::fs::read_to_string(&manifest).unwrap().parse().unwrap();
        if toml.contains_key("workspace") {
            continue;
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = toml.get(section).and_then(|d| d.as_table()) else { continue };
            for (name, value) in table {
                let inherits = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                if !inherits {
                    wrong.push(format!("{}: {name}", shown(&manifest)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "use `name.workspace = true`: {wrong:#?}");
}
