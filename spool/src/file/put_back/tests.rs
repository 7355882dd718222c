use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::*;
use crate::{Entry, Folder, Mode, ReadLimits, file::FILE};

const ALL: ReadLimits = ReadLimits {
    requests: usize::MAX,
    bytes: usize::MAX,
};

fn entry(body: &str) -> Entry {
    Entry {
        received: 1_767_225_600_000,
        source: "sms".into(),
        headers: "{}".to_owned(),
        body: body.to_owned().into(),
    }
}

fn put(file: &SpoolFile, key: u64, body: &str) {
    let puts = vec![(key, entry(body).encode())];
    let change = Change {
        puts,
        ..Change::default()
    };
    file.apply(&change).unwrap();
}

/// Keys and bodies.
fn read(file: &SpoolFile) -> Vec<(u64, String)> {
    let entries = file.read(None, u64::MAX, ALL).unwrap().entries;
    let text = |entry: &Entry| String::from_utf8(entry.body.to_vec()).unwrap();
    entries
        .iter()
        .map(|(key, entry)| (*key, text(entry)))
        .collect()
}

fn two() -> [(u64, String); 2] {
    [(3, "three".to_owned()), (5, "five".to_owned())]
}

/// A folder in a folder of its own, with a spool that has two entries.
struct Scene {
    parent: tempfile::TempDir,
    folder: PathBuf,
    file: SpoolFile,
}

impl Scene {
    fn set() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("spool");
        let file = SpoolFile::open(&folder, Mode::Create).unwrap();
        for (key, body) in two() {
            put(&file, key, &body);
        }
        let names = Change {
            names: Some(["sms".to_owned()].into()),
            ..Change::default()
        };
        file.apply(&names).unwrap();
        assert_eq!(file.displaced(), None);
        Self {
            parent,
            folder,
            file,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }

    /// The reason why the file cannot be put back. What it holds is still read and deleted.
    fn fails(&mut self) -> String {
        let Err(SpoolError::Displaced { reason, .. }) = self.file.put_back(6) else {
            panic!("it was put back");
        };
        self.file.reopen().unwrap();
        assert_eq!(read(&self.file), two());
        reason
    }

    fn put_back(&mut self) -> PutBack {
        let put_back = self.file.put_back(6).unwrap().unwrap();
        assert_eq!(self.file.displaced(), None);
        assert_eq!(self.file.put_back(6).unwrap(), None);
        put_back
    }

    /// The entries that the next process finds.
    fn found_later(self) -> Vec<(u64, String)> {
        let Self {
            folder,
            file,
            parent: _parent,
        } = self;
        drop(file);
        let file = SpoolFile::open(&folder, Mode::Existing).unwrap();
        assert_eq!(file.names().unwrap(), ["sms".to_owned()].into());
        read(&file)
    }
}

/// Names and contents of the files in a folder.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_file_that_was_removed_is_written_anew() {
    let mut scene = Scene::set();
    fs::remove_file(scene.path()).unwrap();
    assert_eq!(scene.file.displaced(), Some(REMOVED));
    scene.file.reopen().unwrap();
    assert_eq!(read(&scene.file), two(), "the open file has them");
    put(&scene.file, 6, "of a commit that was refused");
    let put_back = scene.put_back();
    assert_eq!((put_back.requests, put_back.found), (2, 0));
    assert!(!put_back.is_other_folder);
    put(&scene.file, 6, "six");
    scene.file.reopen().unwrap();
    let all = [&two()[..], &[(6, "six".to_owned())]].concat();
    assert_eq!(read(&scene.file), all);
    assert_eq!(scene.found_later(), all);
}

#[test]
fn what_another_file_holds_is_taken_along() {
    let mut scene = Scene::set();
    fs::rename(scene.path(), scene.folder.join("away")).unwrap();
    let other = scene.beside("other");
    let file = SpoolFile::open(&other, Mode::Create).unwrap();
    put(&file, 0, "other");
    let mut altered = entry("altered").encode();
    *altered.last_mut().unwrap() ^= 1;
    let puts = vec![(5, altered)];
    file.apply(&Change {
        puts,
        ..Change::default()
    })
    .unwrap();
    drop(file);
    fs::rename(other.join(FILE), scene.path()).unwrap();
    assert_eq!(scene.file.displaced(), Some(REPLACED));
    let put_back = scene.put_back();
    assert_eq!((put_back.requests, put_back.found), (2, 2));
    let damaged = scene.file.read(None, u64::MAX, ALL).unwrap().damaged;
    assert_eq!(damaged, [7], "it is kept");
    let all = [&two()[..], &[(6, "other".to_owned())]].concat();
    assert_eq!(scene.found_later(), all);
}

#[test]
fn a_file_that_cannot_be_read_is_left_alone() {
    let mut scene = Scene::set();
    for garbage in ["garbage", ""] {
        fs::remove_file(scene.path()).unwrap();
        fs::write(scene.path(), garbage).unwrap();
        let reason = scene.fails();
        assert!(reason.contains("damaged"), "{reason}");
        assert_eq!(fs::read_to_string(scene.path()).unwrap(), garbage);
    }
    fs::remove_file(scene.path()).unwrap();
    scene.put_back();
    assert_eq!(scene.found_later(), two());
}

#[test]
fn a_folder_that_was_renamed_is_made_anew_and_held() {
    let mut scene = Scene::set();
    let away = scene.beside("away");
    fs::rename(&scene.folder, &away).unwrap();
    assert_eq!(scene.file.displaced(), Some(REMOVED));
    assert!(scene.put_back().is_other_folder);
    let held = SpoolFile::open(&scene.folder, Mode::Create).unwrap_err();
    assert!(matches!(held, SpoolError::Held(_)), "{held}");
    let folder = Folder::hold(&away);
    assert!(folder.is_ok(), "the earlier one is free: {folder:?}");
    assert_eq!(scene.found_later(), two());
}

#[test]
fn a_folder_that_comes_back_is_used_as_before() {
    let mut scene = Scene::set();
    let away = scene.beside("away");
    fs::rename(&scene.folder, &away).unwrap();
    assert!(scene.file.displaced().is_some());
    fs::rename(&away, &scene.folder).unwrap();
    assert_eq!(scene.file.put_back(6).unwrap(), None);
    assert!(scene.file.folder().is_in_place());
    assert_eq!(scene.found_later(), two());
}

#[test]
fn nothing_is_written_into_a_folder_that_another_process_holds() {
    let mut scene = Scene::set();
    fs::rename(&scene.folder, scene.beside("away")).unwrap();
    let other = SpoolFile::open(&scene.folder, Mode::Create).unwrap();
    put(&other, 0, "other");
    let before = contents(&scene.folder);
    let reason = scene.fails();
    assert!(reason.contains("another process holds"), "{reason}");
    scene.file.release_reserve();
    assert!(!scene.file.folder().is_in_place());
    assert!(before == contents(&scene.folder), "something was written");
    drop(other);
    let put_back = scene.put_back();
    assert_eq!((put_back.requests, put_back.found), (2, 1));
    assert_eq!(scene.found_later().len(), 3);
}

#[test]
fn a_folder_that_was_moved_behind_a_link_is_the_same() {
    let mut scene = Scene::set();
    let away = scene.beside("away");
    fs::rename(&scene.folder, &away).unwrap();
    symlink(&away, &scene.folder).unwrap();
    assert_eq!(scene.file.put_back(6).unwrap(), None);
    assert!(scene.file.folder().is_in_place());
    assert_eq!(scene.found_later(), two());
}

#[test]
fn a_link_to_another_folder_is_followed() {
    let mut scene = Scene::set();
    fs::rename(&scene.folder, scene.beside("away")).unwrap();
    let other = scene.beside("other");
    fs::create_dir(&other).unwrap();
    symlink(&other, &scene.folder).unwrap();
    assert!(scene.put_back().is_other_folder);
    assert!(other.join(FILE).exists());
    assert_eq!(scene.found_later(), two());
}

#[test]
fn where_no_folder_can_be_made_the_open_file_is_used() {
    let mut scene = Scene::set();
    fs::rename(&scene.folder, scene.beside("away")).unwrap();
    fs::write(&scene.folder, "a file").unwrap();
    let reason = scene.fails();
    assert!(reason.contains("cannot be used"), "{reason}");
    let deletes = vec![3];
    scene
        .file
        .apply(&Change {
            deletes,
            ..Change::default()
        })
        .unwrap();
    fs::remove_file(&scene.folder).unwrap();
    scene.put_back();
    assert_eq!(scene.found_later(), two()[1..]);
}

#[test]
fn a_file_that_was_cut_is_noticed() {
    let mut scene = Scene::set();
    let whole = fs::read(scene.path()).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(scene.path())
        .unwrap();
    file.set_len(whole.len() as u64 - 1).unwrap();
    assert_eq!(scene.file.displaced(), Some(CUT));
    assert!(scene.file.put_back(6).is_err());
    file.set_len(whole.len() as u64).unwrap();
    fs::write(scene.path(), whole).unwrap();
    assert_eq!(scene.file.displaced(), None);
}

/// Several transactions, each of some entries.
#[test]
fn a_large_file_is_copied_in_parts() {
    let mut scene = Scene::set();
    let body = "x".repeat(COPIED / 3);
    for key in 6..16 {
        put(&scene.file, key, &body);
    }
    fs::remove_file(scene.path()).unwrap();
    let put_back = scene.file.put_back(16).unwrap().unwrap();
    assert_eq!(put_back.requests, 12);
    let before = read(&scene.file);
    assert_eq!(
        before.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        [&[3, 5][..], &Vec::from_iter(6..16)].concat()
    );
    assert!(before[2..].iter().all(|(_, read)| *read == body));
    fs::remove_dir_all(&scene.folder).unwrap();
    let put_back = scene.file.put_back(16).unwrap().unwrap();
    assert_eq!(put_back.requests, 12);
    assert_eq!(scene.found_later(), before);
}
