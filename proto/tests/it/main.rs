//! The wire may only grow: whatever `v1.fields` names must still be there, unchanged.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

/// One line for each field, enum value and method: name, number, type.
fn described() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("runlake/v1");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let descriptors = protox::compile(files, [root]).unwrap();
    let mut lines = BTreeSet::new();
    for file in descriptors.file.iter().filter(|file| file.package() == "runlake.v1") {
        for message in &file.message_type {
            for field in &message.field {
                let member = field.oneof_index.filter(|_| !field.proto3_optional());
                let oneof = member.map_or("", |index| message.oneof_decl[index as usize].name());
                lines.insert(format!(
                    "message {}.{} = {} {:?} {:?} {} {} {oneof}",
                    message.name(),
                    field.name(),
                    field.number(),
                    field.label(),
                    field.r#type(),
                    field.type_name(),
                    if field.proto3_optional() { "optional" } else { "" },
                ));
            }
        }
        for word in &file.enum_type {
            for value in &word.value {
                lines.insert(format!("enum {}.{} = {}", word.name(), value.name(), value.number()));
            }
        }
        for service in &file.service {
            for method in &service.method {
                lines.insert(format!(
                    "method {}/{} ({} {}) -> ({} {})",
                    service.name(),
                    method.name(),
                    if method.client_streaming() { "stream" } else { "one" },
                    method.input_type(),
                    if method.server_streaming() { "stream" } else { "one" },
                    method.output_type(),
                ));
            }
        }
    }
    lines.into_iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// `RUNLAKE_UPDATE=1` adds new lines; it never takes one away.
#[test]
fn fields_are_added_and_never_changed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/v1.fields");
    let agreed: BTreeSet<String> =
        std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    let described = described();
    let gone: Vec<_> = agreed.difference(&described).collect();
    assert!(gone.is_empty(), "removed or changed, which the rules in points.proto forbid: {gone:#?}");
    let new: Vec<_> = described.difference(&agreed).collect();
    if std::env::var_os("RUNLAKE_UPDATE").is_some() {
        let text: String = described.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).unwrap();
    } else {
        assert!(new.is_empty(), "not agreed yet, add them with RUNLAKE_UPDATE=1: {new:#?}");
    }
}

#[test]
fn every_field_is_documented() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("runlake/v1")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut before = "";
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let declares = line.contains(" = ") && !line.starts_with("syntax") && !line.starts_with("//")
                || ["message ", "service ", "enum ", "rpc ", "oneof "]
                    .iter()
                    .any(|word| line.starts_with(word));
            assert!(!declares || before.starts_with("//"), "{}:{} has no comment", path.display(), index + 1);
            before = line;
        }
    }
}
