//! The PTX that is part of the program is what the kernels' sources give; no compiler is needed to see it.

use std::path::Path;

use sha2::{Digest, Sha256};

#[test]
fn every_ptx_names_the_hash_of_its_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let prelude = std::fs::read_to_string(folder.join("prelude.cuh")).unwrap();
    let mut sources = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "cu") {
            continue;
        }
        sources += 1;
        let text = prelude.clone() + &std::fs::read_to_string(&path).unwrap();
        let hash: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        let ptx = folder.join("ptx").join(path.with_extension("ptx").file_name().unwrap());
        let ptx = std::fs::read_to_string(ptx).unwrap();
        assert_eq!(
            ptx.lines().next(),
            Some(format!("// source-sha256: {hash}").as_str()),
            "{} has changed: run `cargo run -p device-code -- ptx` and commit what it writes",
            path.display()
        );
        for word in ["rcp.approx", "div.approx", "div.full", "sqrt.approx", ".ftz", "atom.add.f", "red.add.f"]
        {
            assert!(
                !ptx.contains(word),
                "{} contains {word}: answers would not be those of the CPU",
                path.display()
            );
        }
    }
    assert!(sources > 0);
}
