//! Somebody takes the file or its folder away.

use super::*;

impl Keeper {
    fn look_now(&mut self) {
        let mut group = Group::default();
        self.take(Ask::Look, &mut group);
        self.settle(group);
    }
}

/// Bodies of so many bytes that the next process finds.
fn found_later(keeper: Keeper, folder: &Path) -> Vec<usize> {
    drop(keeper);
    let file = open_file(folder, Mode::Existing).unwrap();
    let entries = file.read(None, u64::MAX, ALL).unwrap().entries;
    entries.iter().map(|(_, entry)| entry.body.len()).collect()
}

/// The way in which somebody takes the file, or its folder, away.
type Loss = fn(&Path);

const LOSSES: [Loss; 4] = [
    |folder| fs::remove_file(folder.join(tidings_spool::file::FILE)).unwrap(),
    |folder| fs::remove_dir_all(folder).unwrap(),
    |folder| fs::rename(folder, folder.with_extension("away")).unwrap(),
    |folder| {
        fs::rename(folder, folder.with_extension("away")).unwrap();
        fs::create_dir(folder).unwrap();
    },
];

#[test]
fn what_is_acknowledged_after_the_file_was_taken_away_is_found_by_the_next_process() {
    for (number, loss) in LOSSES.into_iter().enumerate() {
        for looks in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("spool");
            let mut keeper = keeper(&folder);
            keeper.put("s", 100).unwrap();
            keeper.put("gone", 200).unwrap();
            keeper.delete(1).unwrap();
            loss(&folder);
            if looks {
                keeper.look_now();
                assert!(folder.join(tidings_spool::file::FILE).exists(), "{number}");
            }
            keeper.put("s", 300).unwrap();
            // Whoever has read an entry before can still delete it.
            keeper.put("s", 400).unwrap();
            keeper.delete(0).unwrap();
            let (told, counted) = keeper.bytes();
            assert_eq!(told, counted);
            assert!(keeper.failure.borrow().is_none());
            let note = fs::read_to_string(folder.join("waiting.json")).unwrap();
            assert!(note.contains(r#""s""#), "{note}");
            assert_eq!(found_later(keeper, &folder), [300, 400], "{number}");
        }
    }
}

/// Takes the file away between the commit and the answer.
#[test]
fn a_commit_into_a_file_that_lost_its_place_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.put("s", 100).unwrap();
    let path = folder.path().join(tidings_spool::file::FILE);
    let (away, is_in_place) = (folder.path().join("away"), std::cell::Cell::new(true));
    keeper.after_commit = Some(Hook(Box::new(move || {
        if is_in_place.replace(false) {
            fs::rename(&path, &away).unwrap();
        }
    })));
    let Err(Unspooled::Failed(failure)) = keeper.put("s", 200) else {
        panic!("it was acknowledged");
    };
    assert!(
        failure.to_string().contains("removed or renamed"),
        "{failure}"
    );
    assert!(keeper.failure.borrow().is_some());
    keeper.look_now();
    assert!(keeper.failure.borrow().is_none());
    keeper.put("s", 300).unwrap();
    let (told, counted) = keeper.bytes();
    assert_eq!(told, counted);
    assert_eq!(found_later(keeper, folder.path()), [100, 300]);
}

#[test]
fn while_the_file_cannot_be_put_back_requests_are_refused_and_what_is_held_is_drained() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("spool");
    let mut keeper = keeper(&folder);
    for body in [100, 200] {
        keeper.put("s", body).unwrap();
    }
    let (spool, _asked) = Spool::way_to(&keeper, LIMIT);
    fs::rename(&folder, parent.path().join("away")).unwrap();
    // Another worker has taken the place.
    let other = open_file(&folder, Mode::Create).unwrap();
    let names = || {
        let files = fs::read_dir(&folder).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let log = testing::Log::default();
    let listening = log.listen();
    for _ in 0..3 {
        keeper.look_now();
        keeper.unplaced = None;
        assert!(keeper.put("s", 300).is_err());
        keeper.refusing.as_mut().unwrap().0 -= PAUSE;
        assert!(keeper.put("s", 300).is_err());
        assert!(!spool.is_taking());
    }
    drop(listening);
    let errors = log.text().matches("ERROR").count();
    assert_eq!(errors, 1, "{}", log.text());
    let failure = spool.failure().unwrap();
    assert!(failure.contains("another process holds"), "{failure}");
    assert_eq!(keeper.read(None).unwrap().entries.len(), 2);
    keeper.delete(0).unwrap();
    assert!(!spool.is_taking(), "a deletion changes nothing");
    assert_eq!(names(), before, "nothing was written there");
    drop(other);
    keeper.unplaced = None;
    keeper.look_now();
    assert!(spool.is_taking() && spool.failure().is_none());
    keeper.put("s", 400).unwrap();
    let (told, counted) = keeper.bytes();
    assert_eq!(told, counted);
    assert_eq!(found_later(keeper, &folder), [200, 400]);
}

/// An attempt may have copied all that the disk takes.
#[test]
fn an_attempt_to_put_the_file_back_is_not_repeated_at_once() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("spool");
    let mut keeper = keeper(&folder);
    keeper.put("s", 100).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "a file").unwrap();
    keeper.look_now();
    fs::remove_file(&folder).unwrap();
    let (until, _) = keeper.unplaced.as_mut().unwrap();
    *until += Duration::from_secs(3600);
    keeper.look_now();
    assert!(!folder.exists());
    keeper.unplaced.as_mut().unwrap().0 = Instant::now();
    keeper.look_now();
    assert_eq!(found_later(keeper, &folder), [100]);
}

#[test]
fn a_note_that_was_removed_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.put("s", 100).unwrap();
    let note = folder.path().join("waiting.json");
    let before = fs::read(&note).unwrap();
    fs::remove_file(&note).unwrap();
    keeper.look_now();
    assert_eq!(fs::read(&note).unwrap(), before);
}

/// The entries of the other file get the keys that the next entries were to have.
#[test]
fn what_another_file_holds_is_not_overwritten_by_what_comes() {
    let parent = tempfile::tempdir().unwrap();
    let [folder, other] = ["spool", "other"].map(|name| parent.path().join(name));
    let mut keeper = keeper(&folder);
    keeper.put("s", 100).unwrap();
    put_damaged(&other, [7], "s");
    let file = open_file(&other, Mode::Create).unwrap();
    let puts = vec![(3, entry("s", 200).encode())];
    file.apply(&Change {
        puts,
        ..Change::default()
    })
    .unwrap();
    drop(file);
    let name = tidings_spool::file::FILE;
    fs::rename(other.join(name), folder.join(name)).unwrap();
    assert!(keeper.put("s", 300).is_err(), "its key is taken");
    keeper.refusing.as_mut().unwrap().0 -= PAUSE;
    keeper.put("s", 400).unwrap();
    assert_eq!(keeper.depth.borrow().damaged.requests, 1);
    let read = keeper.read(None).unwrap();
    assert_eq!((read.entries.len(), read.damaged.len()), (3, 1));
    keeper.delete(0).unwrap();
    assert_eq!(found_later(keeper, &folder), [200, 400]);
}
