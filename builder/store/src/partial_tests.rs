//! Downloads that were broken off, at every point and by everyone.

use std::thread;
use std::time::Duration;

use super::*;

fn site() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = Store::at(dir.path());
    (dir, store)
}

const WORDS: &[u8] = b"hello world";

fn words() -> Descriptor {
    Descriptor::of("x", Digest::of(WORDS), WORDS.len() as u64)
}

/// What an earlier attempt left.
fn left(store: &Store, bytes: &[u8], mode: u32) -> PathBuf {
    let path = store.root().join("partial").join(words().digest.hex());
    fs::write(&path, bytes).expect("leave");
    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("mode");
    path
}

fn partials(store: &Store) -> Vec<String> {
    files::names(&store.root().join("partial")).expect("list")
}

#[test]
fn a_download_goes_on_where_it_ended() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let wanted = words();
    let mut first = ingest.partial(&wanted).expect("begin");
    first.append(b"hello").expect("write");
    assert!(ingest.partial(&wanted).is_err(), "two writers");
    drop(first);
    let mut second = ingest.partial(&wanted).expect("go on");
    assert_eq!(second.done(), 5);
    assert!(second.append(b" world and more").is_err());
    second.append(b" world").expect("write");
    assert_eq!(second.finish().expect("finish"), wanted.digest);
    assert_eq!(store.read_blob(wanted.digest, 100).expect("read"), b"hello world");
    assert_eq!(partials(&store), Vec::<String>::new());
}

#[test]
fn other_content_is_refused_and_not_kept() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let wanted = Descriptor::of("x", Digest::of(b"good"), 4);
    let mut partial = ingest.partial(&wanted).expect("begin");
    partial.append(b"evil").expect("write");
    assert!(matches!(partial.finish(), Err(StoreError::Content { .. })));
    assert_eq!(ingest.partial(&wanted).expect("begin again").done(), 0);
    let mut short = ingest.partial(&wanted).expect("begin");
    short.append(b"go").expect("write");
    assert!(short.finish().is_err());
    assert_eq!(ingest.partial(&wanted).expect("go on").done(), 2, "what is there is kept");
}

#[test]
fn one_that_was_complete_is_only_finished() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    for mode in [0o600, 0o444] {
        left(&store, WORDS, mode);
        let partial = ingest.partial(&words()).expect("go on");
        assert!(partial.is_complete(), "{mode:o}");
        partial.finish().expect("finish");
        assert_eq!(fs::metadata(store.blob_path(words().digest)).expect("blob").permissions().mode() & 0o777, 0o444);
    }
    // The size may be learnt later.
    left(&store, WORDS, 0o444);
    let mut unknown = ingest.partial_of(words().digest, None).expect("go on");
    assert!(!unknown.is_complete());
    unknown.announce(WORDS.len() as u64).expect("announce");
    assert!(unknown.is_complete());
    unknown.finish().expect("finish");
}

#[test]
fn more_than_there_can_be_is_begun_anew() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    left(&store, b"hello world and more", 0o444);
    let mut partial = ingest.partial(&words()).expect("begin");
    assert_eq!(partial.done(), 0);
    partial.append(WORDS).expect("write");
    partial.finish().expect("finish");
}

#[test]
fn nothing_is_left_of_a_download_that_never_began() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    drop(ingest.partial(&words()).expect("begin"));
    assert_eq!(partials(&store), Vec::<String>::new());
    let huge = Descriptor::of("x", Digest::of(b"x"), u64::MAX);
    let full = ingest.partial(&huge).expect_err("no disk has so much");
    assert!(matches!(full, StoreError::Full { .. } | StoreError::Partial(PartialError::Full { .. })), "{full:?}");
    let large = Descriptor::of("x", Digest::of(b"x"), 1 << 60);
    assert!(ingest.partial(&large).is_err());
    assert_eq!(partials(&store), Vec::<String>::new());
    // What is there is not lost by a size that is not.
    left(&store, b"hello", 0o600);
    assert!(ingest.partial_of(words().digest, Some(1 << 60)).is_err());
    assert_eq!(ingest.partial(&words()).expect("go on").done(), 5);
}

#[test]
fn a_download_without_an_end_is_bounded_and_removed() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let mut endless = ingest.partial_of(words().digest, None).expect("begin");
    endless.most = 100;
    endless.append(&[0; 100]).expect("up to the bound");
    let error = endless.append(&[0]).expect_err("beyond it");
    assert!(matches!(error, StoreError::Partial(PartialError::Endless { came: 100, .. })), "{error}");
    assert!(error.to_string().ends_with("nothing of it is kept"), "{error}");
    drop(endless);
    assert_eq!(partials(&store), Vec::<String>::new());
    // One whose size the server says is bounded by that.
    let mut said = ingest.partial_of(words().digest, None).expect("begin");
    said.announce(3).expect("announce");
    said.append(b"abc").expect("as announced");
    assert!(said.append(b"d").is_err());
}

#[test]
fn a_file_that_became_a_blob_is_not_written_to() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let path = left(&store, b"hello", 0o600);
    let held = options().read(true).write(true).open(&path).expect("open");
    assert!(is_at(&held, &path).expect("stat"));
    fs::rename(&path, store.blob_path(words().digest)).expect("publish");
    assert!(!is_at(&held, &path).expect("stat"));
    assert_eq!(ingest.partial(&words()).expect("begin").done(), 0);
    fs::write(&path, b"another").expect("write");
    assert!(!is_at(&held, &path).expect("stat"));
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let path = store.root().join("partial").join(words().digest.hex());
    let outside = store.root().join("outside");
    fs::write(&outside, b"precious").expect("write");
    std::os::unix::fs::symlink(&outside, &path).expect("link");
    assert!(ingest.partial(&words()).is_err());
    assert_eq!(store.drop_partials().expect("drop").count, 1);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("fifo");
    assert!(ingest.partial(&words()).expect_err("fifo").to_string().contains("no regular file"));
    fs::create_dir(path.with_extension("d")).expect("directory");
    assert_eq!(store.drop_partials().expect("drop").count, 2);
    assert_eq!(fs::read(&outside).expect("read"), b"precious");
}

#[test]
fn what_nobody_goes_on_with_is_dropped() {
    let (_dir, store) = site();
    assert_eq!(store.drop_partials().expect("no store"), Removed::default());
    assert!(!store.root().join("oci-layout").exists(), "nothing is made");
    let ingest = store.ingest().expect("ingest");
    let mut going_on = ingest.partial(&Descriptor::of("x", Digest::of(b"y"), 9)).expect("begin");
    going_on.append(b"y").expect("write");
    let path = left(&store, &[1; 5000], 0o444);
    let room = fs::metadata(&path).map(|m| m.len().max(m.blocks() * 512)).expect("stat");
    assert_eq!(store.drop_partials().expect("drop"), Removed { count: 1, bytes: room });
    assert_eq!(partials(&store).len(), 1);
    going_on.append(b"z").expect("it is still there");
    drop(going_on);
    assert_eq!(store.drop_partials().expect("drop").count, 1);
    assert_eq!(partials(&store), Vec::<String>::new());
}

/// The user of the child; nobody's.
const USER: u32 = 65_534;

/// Runs one test of this program as another user, in a store of theirs. `None`: only root can.
fn as_user(test: &str, prepare: impl Fn(&Store)) -> Option<()> {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to be another user");
        return None;
    }
    let (dir, store) = site();
    drop(store.ingest().expect("ingest"));
    prepare(&store);
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let own = std::process::Command::new("chown").arg(format!("{USER}:{USER}")).arg(dir.path()).status();
    assert!(own.expect("chown").success());
    for entry in fs::read_dir(dir.path()).expect("list") {
        let path = entry.expect("entry").path();
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).expect("chown");
    }
    std::os::unix::fs::chown(dir.path().join("blobs/sha256"), Some(USER), Some(USER)).expect("chown");
    // The build directory may be closed to others; /proc/self/exe is not.
    let program = dir.path().join("test");
    fs::copy(std::env::current_exe().expect("this test"), &program).expect("copy");
    let mut child = std::process::Command::new(&program);
    child.args(["--exact", test, "--nocapture"]).env("HONE_TEST_ROOT", dir.path()).uid(USER).gid(USER);
    let output = child.output().expect("start this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

/// The store of the child, where this is it.
fn of_user() -> Option<Store> {
    std::env::var_os("HONE_TEST_ROOT").map(Store::at)
}

#[test]
fn a_user_goes_on_with_what_was_sealed_before_it_was_finished() {
    let Some(store) = of_user() else {
        let sealed = |store: &Store| {
            let path = left(store, WORDS, 0o444);
            std::os::unix::fs::chown(path, Some(USER), Some(USER)).expect("chown");
        };
        as_user("partial::tests::a_user_goes_on_with_what_was_sealed_before_it_was_finished", sealed);
        return;
    };
    let ingest = store.ingest().expect("ingest");
    let partial = ingest.partial(&words()).expect("open what is read-only");
    assert!(partial.is_complete());
    partial.finish().expect("finish");
}

/// What may not even be read stays as it is, and stands in the way of no download.
fn beside(store: &Store, ingest: &Ingest<'_>) {
    let theirs = words().digest.hex();
    let mut partial = ingest.partial(&words()).expect("begin one of our own");
    partial.append(b"hello").expect("write");
    assert!(matches!(ingest.partial(&words()), Err(StoreError::Partial(PartialError::Busy(_)))), "two writers");
    drop(partial);
    let mut partial = ingest.partial(&words()).expect("go on");
    assert_eq!(partial.done(), 5);
    partial.append(b" world").expect("write");
    partial.finish().expect("finish");
    assert_eq!(store.read_blob(words().digest, 100).expect("read"), WORDS);
    assert_eq!(partials(store).join(" "), theirs);
    // Where not only it is closed, nobody downloads.
    let dir = store.root().join("partial");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o500)).expect("mode");
    let error = ingest.partial(&words()).expect_err("a directory that may not be written");
    assert!(matches!(&error, StoreError::Denied { path, .. } if path.ends_with(&theirs)), "{error}");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).expect("mode");
}

#[test]
fn what_may_not_be_removed_is_noticed_and_hides_nothing() {
    let Some(store) = of_user() else {
        as_user("partial::tests::what_may_not_be_removed_is_noticed_and_hides_nothing", |store| {
            // A file of theirs, and a directory of theirs with something in it.
            left(store, WORDS, 0o600);
            let dir = store.root().join("partial").join("0".repeat(64));
            fs::create_dir(&dir).expect("directory");
            fs::write(dir.join("x"), b"x").expect("write");
        });
        return;
    };
    let ours = store.root().join("partial").join("f".repeat(64));
    fs::write(&ours, b"ours").expect("write");
    assert_eq!(store.drop_partials().expect("drop").count, 1);
    assert!(!ours.exists() && partials(&store).len() == 2, "{:?}", partials(&store));
    let problems = store.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|p| p.what.contains("/partial/") && p.why.contains("stays")), "{problems:?}");
}

#[test]
fn whoever_looks_into_a_download_for_a_moment_is_waited_for() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    // One that looks and leaves it, and one that removes it.
    for removes in [false, true] {
        let path = left(&store, b"hello", 0o600);
        let held = File::open(&path).expect("open");
        lock(&held).expect("lock");
        let looking = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            if removes {
                fs::remove_file(&path).expect("remove");
            }
            drop(held);
        });
        let partial = ingest.partial(&words()).expect("nobody downloads it");
        assert_eq!(partial.done(), if removes { 0 } else { 5 });
        looking.join().expect("looked");
    }
}

#[test]
fn what_another_user_left_makes_way_unless_they_write_it() {
    let Some(store) = of_user() else {
        as_user("partial::tests::what_another_user_left_makes_way_unless_they_write_it", |store| {
            left(store, WORDS, 0o644);
        });
        // They may be writing what we cannot even read.
        as_user("partial::tests::what_another_user_left_makes_way_unless_they_write_it", |store| {
            left(store, WORDS, 0o600);
        });
        return;
    };
    let ingest = store.ingest().expect("ingest");
    let path = store.root().join("partial").join(words().digest.hex());
    if File::open(&path).is_err() {
        return beside(&store, &ingest);
    }
    let theirs = File::open(&path).expect("open");
    lock(&theirs).expect("lock");
    let error = ingest.partial(&words()).expect_err("they write it");
    assert!(matches!(error, StoreError::Partial(PartialError::Busy(_))), "{error}");
    assert_eq!(store.drop_partials().expect("drop").count, 0);
    drop(theirs);
    let mut partial = ingest.partial(&words()).expect("begin");
    assert_eq!(partial.done(), 0);
    partial.append(WORDS).expect("write");
    partial.finish().expect("finish");
}
