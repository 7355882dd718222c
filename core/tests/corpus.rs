//! The inputs that fuzzing found worth keeping, through the same checks (`fuzz/src/`):
//! `core/testdata/corpus/<target>/`, written by `make fuzz CORPUS=1`.

use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus")
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[test]
fn what_fuzzing_kept_holds() {
    let mut wrong = Vec::new();
    for folder in files(&corpus()) {
        let target = name(&folder);
        for path in files(&folder) {
            let input = fs::read(&path).unwrap();
            if panic::catch_unwind(|| tidings_fuzz::check(&target, &input)).is_err() {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_target_keeps_something() {
    let kept: BTreeSet<String> = files(&corpus())
        .into_iter()
        .filter(|folder| !files(folder).is_empty())
        .map(|folder| name(&folder))
        .collect();
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let targets: BTreeSet<String> = files(&targets)
        .iter()
        .map(|path| name(path).trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(kept, targets);
}

/// It is in every checkout for ever.
#[test]
fn the_corpus_stays_small() {
    let paths = files(&corpus());
    let lengths = paths
        .iter()
        .flat_map(|folder| files(folder))
        .map(|path| fs::metadata(path).unwrap().len());
    assert!(lengths.sum::<u64>() < 1 << 20);
}
