//! `right_credential`: where device tokens are kept.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use onesocket::Client;
use onesocket::core::{Config, DeviceIdentity, Endpoint, Secret, StoreError, StoredToken, TokenKey};
use onesocket::network::Network;
use onesocket::token_store::{FileTokenStore, MemoryTokenStore, TokenStore};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::runtime::Runtime;

/// Beside the folder of a store, in the environment of a process that this test starts of itself.
const WRITER: &str = "ONESOCKET_TEST_WRITER";
/// Far beyond every bound: what takes longer never ends.
const FOR_EVER: Duration = Duration::from_secs(60);

fn key(role: &str) -> TokenKey {
    at(role, "ws://127.0.0.1:18789")
}

fn at(role: &str, url: &str) -> TokenKey {
    TokenKey::new("d", role, &Endpoint::parse(url).expect("a valid url"))
}

fn token(text: &str) -> StoredToken {
    StoredToken { token: Secret::trimmed(text).expect("not blank"), scopes: vec!["operator.read".to_owned()] }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// What is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// What every store must do.
async fn keeps_tokens(store: &dyn TokenStore) {
    assert_eq!(store.load(&key("operator")).await, Ok(None));
    store.save(&key("operator"), &token("a")).await.expect("the token is stored");
    store.save(&key("node"), &token("b")).await.expect("the token is stored");
    assert_eq!(store.load(&key("operator")).await, Ok(Some(token("a"))));
    assert_eq!(store.load(&key("node")).await, Ok(Some(token("b"))));

    // Neighbours behind one port have tokens of their own.
    let neighbours =
        ["rosita", "wilfred"].map(|path| at("operator", &format!("ws://127.0.0.1:18789/{path}")));
    store.save(&neighbours[0], &token("rosita")).await.expect("the token is stored");
    assert_eq!(store.load(&neighbours[1]).await, Ok(None));
    store.clear(&neighbours[1], &token("rosita").token).await.expect("nothing to clear");
    assert_eq!(store.load(&neighbours[0]).await, Ok(Some(token("rosita"))));

    // A token that is no longer the stored one clears nothing.
    store.clear(&key("operator"), &token("old").token).await.expect("nothing to clear");
    assert_eq!(store.load(&key("operator")).await, Ok(Some(token("a"))));
    store.clear(&key("operator"), &token("a").token).await.expect("the token is cleared");
    assert_eq!(store.load(&key("operator")).await, Ok(None));
    assert_eq!(store.load(&key("node")).await, Ok(Some(token("b"))));
}

#[tokio::test]
async fn right_credential_a_memory_store_keeps_tokens_by_device_role_and_gateway() {
    keeps_tokens(&MemoryTokenStore::default()).await;
}

#[tokio::test]
async fn right_credential_a_file_store_keeps_tokens_and_is_readable_by_its_owner_only() {
    let folder = folder();
    let path = folder.path().join("tokens.json");
    let store = FileTokenStore::new(&path);
    keeps_tokens(&store).await;
    let mode = fs::metadata(&path).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Another store on the same file, as in the next run of the app.
    assert_eq!(FileTokenStore::new(&path).load(&key("node")).await, Ok(Some(token("b"))));
    assert_eq!(names(folder.path()), ["tokens.json", "tokens.json.lock"], "no half-written file is left");
    let mode =
        fs::metadata(folder.path().join("tokens.json.lock")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// What a file of an earlier version holds, which named gateways by host and port only.
const EARLIER: &str = r#"{"version":1,"tokens":{
    "d|operator|127.0.0.1:18789":{"token":"a","scopes":["operator.read"]},
    "d|operator|::1:18789":{"token":"b","scopes":["operator.read"]}}}"#;

#[tokio::test]
async fn right_credential_a_token_of_an_earlier_version_is_found_where_it_can_be_no_other_gateways() {
    let folder = folder();
    let path = folder.path().join("tokens.json");
    fs::write(&path, EARLIER).expect("the file can be written");
    let store = FileTokenStore::new(&path);
    for (url, found) in [
        ("ws://127.0.0.1:18789", Some("a")),
        ("ws://127.0.0.1:18789/", Some("a")),
        ("wss://127.0.0.1:18789", Some("a")),
        ("ws://[::1]:18789", Some("b")),
        ("ws://127.0.0.1:18789/rosita", None),
        ("ws://127.0.0.1:18789/?agent=rosita", None),
        ("ws://127.0.0.1:18789//", None),
        ("ws://127.0.0.1:1", None),
    ] {
        assert_eq!(store.load(&at("operator", url)).await, Ok(found.map(token)), "{url}");
    }

    // Nothing that another gateway says touches it.
    let rosita = at("operator", "ws://127.0.0.1:18789/rosita");
    store.clear(&rosita, &token("a").token).await.expect("nothing to clear");
    store.save(&rosita, &token("c")).await.expect("the token is stored");
    assert_eq!(store.load(&key("operator")).await, Ok(Some(token("a"))));

    // A newer token takes its place, and it is gone when it is cleared.
    store.save(&key("operator"), &token("new")).await.expect("the token is stored");
    assert_eq!(store.load(&key("operator")).await, Ok(Some(token("new"))));
    store.clear(&key("operator"), &token("new").token).await.expect("the token is cleared");
    assert_eq!(store.load(&key("operator")).await, Ok(None));
    let v6 = at("operator", "ws://[::1]:18789");
    store.clear(&v6, &token("b").token).await.expect("the token is cleared");
    assert_eq!(store.load(&v6).await, Ok(None));
    assert_eq!(store.load(&rosita).await, Ok(Some(token("c"))));
}

/// Whatever the version of the file, it is not this one's to overwrite.
#[tokio::test]
async fn right_credential_a_damaged_file_is_an_error_and_stays_as_it_is() {
    let folder = folder();
    let path = folder.path().join("tokens.json");
    let damaged = |line| StoreError::Damaged { path: path.clone(), line };
    let whole = r#"{"version":1,"tokens":{"a|operator|b":{"token":"secret-text","scopes":[]}}}"#;
    let mut cases: Vec<(Vec<u8>, StoreError)> = vec![
        (b"{\"version\":1,\n\"tokens\":{\"secret-text".to_vec(), damaged(2)),
        (
            b"{\"version\":9,\"tokens\":[]}".to_vec(),
            StoreError::Version { path: path.clone(), found: 9, known: 1 },
        ),
        (b"[]".to_vec(), damaged(1)),
        (Vec::new(), damaged(1)),
        (b"\0\0\0\0".to_vec(), damaged(1)),
        (b"\xff\xfe{\0".to_vec(), damaged(1)),
        (
            b"{\"version\":1,\"tokens\":{\"\xff\":{\"token\":\"secret-text\",\"scopes\":[]}}}".to_vec(),
            damaged(1),
        ),
    ];
    // Whatever a crash leaves of it.
    cases.extend((1..whole.len()).map(|end| (whole.as_bytes()[..end].to_vec(), damaged(1))));
    for (bytes, expected) in cases {
        fs::write(&path, &bytes).expect("the file can be written");
        let store = FileTokenStore::new(&path);
        let error = store.load(&key("operator")).await.expect_err("a damaged file is not an empty one");
        assert_eq!(error, expected);
        assert!(!error.to_string().contains("secret-text"), "{error}");
        assert_eq!(store.save(&key("operator"), &token("a")).await, Err(expected.clone()));
        assert_eq!(store.clear(&key("operator"), &token("a").token).await, Err(expected));
        assert_eq!(fs::read(&path).expect("the file is there"), bytes);
    }
}

#[tokio::test]
async fn right_credential_a_file_with_a_byte_order_mark_is_read() {
    let folder = folder();
    let path = folder.path().join("tokens.json");
    fs::write(&path, format!("\u{feff}{EARLIER}")).expect("the file can be written");
    let store = FileTokenStore::new(&path);
    assert_eq!(store.load(&key("operator")).await, Ok(Some(token("a"))));
    store.save(&key("node"), &token("c")).await.expect("the token is stored");
    assert_eq!(store.load(&key("operator")).await, Ok(Some(token("a"))));
    assert!(fs::read(&path).expect("the file is there").starts_with(b"{"));
}

#[tokio::test]
async fn right_credential_a_folder_that_is_missing_is_made_when_there_is_something_to_write() {
    let folder = folder();
    let path = folder.path().join("of/the/app/tokens.json");
    let store = FileTokenStore::new(&path);
    assert_eq!(store.load(&key("operator")).await, Ok(None));
    store.clear(&key("operator"), &token("a").token).await.expect("nothing to clear");
    assert!(names(folder.path()).is_empty());
    keeps_tokens(&store).await;
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder.path().join("of")), mode(path.parent().expect("a folder"))), (0o700, 0o700));
}

#[tokio::test]
async fn right_credential_links_stay_and_what_they_lead_to_is_written() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("real")).expect("a folder");
    symlink("real", at("linked")).expect("a link");
    symlink("linked/second", at("first")).expect("a link");
    // Relative to the folder it is in, also where nothing is there yet.
    symlink("../real/tokens.json", at("real/second")).expect("a link");
    let store = FileTokenStore::new(at("first"));
    keeps_tokens(&store).await;
    for link in ["first", "linked", "real/second"] {
        assert!(at(link).is_symlink(), "{link}");
    }
    assert_eq!(names(&at("real")), ["second", "tokens.json", "tokens.json.lock"]);
    assert_eq!(FileTokenStore::new(at("real/tokens.json")).load(&key("node")).await, Ok(Some(token("b"))));

    symlink("there", at("here")).expect("a link");
    symlink("here", at("there")).expect("a link");
    let error = FileTokenStore::new(at("here")).load(&key("node")).await.expect_err("a circle");
    let is = "a symbolic link that leads nowhere";
    assert_eq!(error, StoreError::NotAFile { path: at("here"), is });
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("it is there").success());
}

/// A pipe, above all: whoever opens that waits for its other end.
#[tokio::test]
async fn stop_is_final_what_is_no_file_is_not_opened() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).expect("a folder");
    make_pipe(&at("pipe"));
    let _listener = UnixListener::bind(at("socket")).expect("a socket");
    symlink("pipe", at("link")).expect("a link");
    let cases = [
        (at("folder"), at("folder"), "a folder"),
        (at("pipe"), at("pipe"), "a pipe"),
        (at("link"), at("pipe"), "a pipe"),
        (at("socket"), at("socket"), "a socket"),
        (PathBuf::from("/dev/null"), PathBuf::from("/dev/null"), "a device"),
        (PathBuf::from("/"), PathBuf::from("/"), "a folder"),
    ];
    for (given, path, is) in cases {
        let store = FileTokenStore::new(given);
        let expected = StoreError::NotAFile { path, is };
        assert_eq!(store.load(&key("operator")).await, Err(expected.clone()));
        assert_eq!(store.save(&key("operator"), &token("a")).await, Err(expected.clone()));
        assert_eq!(store.clear(&key("operator"), &token("a").token).await, Err(expected));
    }

    // The lock file neither.
    let store = FileTokenStore::new(at("tokens.json"));
    make_pipe(&at("tokens.json.lock"));
    let expected = StoreError::NotAFile { path: at("tokens.json.lock"), is: "a pipe" };
    assert_eq!(store.save(&key("operator"), &token("a")).await, Err(expected));
}

/// What somebody has put in the place of the temporary file is not written to.
#[tokio::test]
async fn right_credential_a_temporary_file_of_somebody_else_is_replaced() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("victim"), "precious").expect("a file");
    let store = FileTokenStore::new(at("tokens.json"));
    symlink("victim", at("tokens.json.tmp")).expect("a link");
    store.save(&key("operator"), &token("a")).await.expect("the token is stored");
    fs::hard_link(at("victim"), at("tokens.json.tmp")).expect("a link");
    store.save(&key("operator"), &token("b")).await.expect("the token is stored");
    assert_eq!(fs::read_to_string(at("victim")).expect("it is there"), "precious");
    assert_eq!(names(folder.path()), ["tokens.json", "tokens.json.lock", "victim"]);
    assert!(!at("tokens.json").is_symlink());

    fs::create_dir(at("tokens.json.tmp")).expect("a folder");
    let error = store.save(&key("operator"), &token("c")).await.expect_err("it cannot be removed");
    assert!(
        matches!(&error, StoreError::System { path, what: "removed", .. } if *path == at("tokens.json.tmp")),
        "{error}"
    );
    assert_eq!(store.load(&key("operator")).await, Ok(Some(token("b"))));
}

#[tokio::test]
async fn right_credential_a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "precious").expect("a file");
    let store = FileTokenStore::new(file.join("of/tokens.json"));
    let error = store.load(&key("operator")).await.expect_err("there can be no such file");
    assert!(matches!(&error, StoreError::System { path, .. } if path.starts_with(&file)), "{error}");
    let error = store.save(&key("operator"), &token("a")).await.expect_err("there can be no such folder");
    assert!(matches!(&error, StoreError::System { path, .. } if path.starts_with(&file)), "{error}");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
}

/// Saves a token under each of `count` keys of its own.
async fn save_all(store: &FileTokenStore, whose: &str, count: usize) {
    for number in 0..count {
        let name = format!("{whose}-{number}");
        store.save(&key(&name), &token(&name)).await.expect("the token is stored");
    }
}

async fn has_all(store: &FileTokenStore, whose: &str, count: usize) {
    for number in 0..count {
        let name = format!("{whose}-{number}");
        assert_eq!(store.load(&key(&name)).await, Ok(Some(token(&name))), "{name}");
    }
}

#[test]
fn right_credential_stores_on_one_file_keep_what_the_others_wrote() {
    let folder = folder();
    let path = folder.path().join("tokens.json");
    symlink("tokens.json", folder.path().join("link")).expect("a link");
    let link = folder.path().join("link");
    thread::scope(|scope| {
        for (whose, path) in [("a", &path), ("b", &path), ("c", &link)] {
            scope.spawn(move || {
                let store = FileTokenStore::new(path).lock_timeout(FOR_EVER);
                runtime().block_on(save_all(&store, whose, 100));
            });
        }
    });
    runtime().block_on(async {
        let store = FileTokenStore::new(&path);
        for whose in ["a", "b", "c"] {
            has_all(&store, whose, 100).await;
        }
        // And so with what is cleared at once from two sides.
        let other = FileTokenStore::new(&link);
        for number in 0..20 {
            let [a, b] = ["a", "b"].map(|whose| format!("{whose}-{number}"));
            let (a_key, b_key, a_token, b_token) = (key(&a), key(&b), token(&a).token, token(&b).token);
            let both =
                futures_util::future::join(store.clear(&a_key, &a_token), other.clear(&b_key, &b_token))
                    .await;
            assert_eq!(both, (Ok(()), Ok(())));
            assert_eq!((store.load(&a_key).await, store.load(&b_key).await), (Ok(None), Ok(None)));
        }
        has_all(&store, "c", 100).await;
    });
    assert!(link.is_symlink());
}

/// This test once more, as a process that writes to the store at `path` until it is killed.
fn writer(test: &str, path: &Path, whose: &str) -> Child {
    let this = std::env::current_exe().expect("this test is a program");
    Command::new(this)
        .args(["--exact", test, "--nocapture"])
        .env(WRITER, path)
        .env("ONESOCKET_TEST_WHOSE", whose)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process")
}

/// In such a process: the store to write to, and whose keys.
fn this_is_a_writer() -> Option<(FileTokenStore, String)> {
    let path = std::env::var_os(WRITER)?;
    let whose = std::env::var("ONESOCKET_TEST_WHOSE").expect("it comes along");
    Some((FileTokenStore::new(path).lock_timeout(FOR_EVER), whose))
}

#[test]
fn right_credential_processes_on_one_file_keep_what_the_others_wrote() {
    if let Some((store, whose)) = this_is_a_writer() {
        return runtime().block_on(save_all(&store, &whose, 50));
    }
    let folder = folder();
    let path = folder.path().join("tokens.json");
    let test = "right_credential_processes_on_one_file_keep_what_the_others_wrote";
    let writers = ["a", "b"].map(|whose| writer(test, &path, whose));
    for mut writer in writers {
        assert!(writer.wait().expect("it ends").success());
    }
    let store = FileTokenStore::new(&path);
    runtime().block_on(async {
        has_all(&store, "a", 50).await;
        has_all(&store, "b", 50).await;
    });
}

/// Killed while the new file is there and not in its place, as often as that can be met.
#[test]
fn right_credential_a_process_that_is_killed_while_it_saves_leaves_a_whole_store_and_no_rubbish() {
    if let Some((store, whose)) = this_is_a_writer() {
        return runtime().block_on(async {
            loop {
                save_all(&store, &whose, 20).await;
            }
        });
    }
    let test = "right_credential_a_process_that_is_killed_while_it_saves_leaves_a_whole_store_and_no_rubbish";
    let folder = folder();
    let path = folder.path().join("tokens.json");
    let temporary = folder.path().join("tokens.json.tmp");
    let store = FileTokenStore::new(&path);
    let mut left_behind = 0;
    for round in 0..30 {
        let mut writer = writer(test, &path, "killed");
        let begun = Instant::now();
        while !temporary.exists() {
            assert!(begun.elapsed() < FOR_EVER, "nothing is ever written");
        }
        writer.kill().expect("it runs");
        writer.wait().expect("it ends");
        let names = names(folder.path());
        let rubbish = names.iter().filter(|name| *name != "tokens.json" && *name != "tokens.json.lock");
        let rubbish: Vec<&String> = rubbish.collect();
        assert!(rubbish.is_empty() || rubbish == ["tokens.json.tmp"], "{rubbish:?}");
        left_behind += rubbish.len();
        runtime().block_on(async {
            // Whoever was killed holds no lock, the store is whole, and the next save leaves no rubbish.
            let whole = store.load(&key("killed-0")).await.expect("the store is whole");
            assert!(whole.is_none() || whole == Some(token("killed-0")), "round {round}");
            store.save(&key("mine"), &token("mine")).await.expect("the token is stored");
        });
        assert!(!temporary.exists(), "round {round}");
    }
    assert!(left_behind > 0, "no process was killed in the middle");
}

#[test]
fn right_credential_a_lock_is_waited_for_and_not_for_ever() {
    let folder = folder();
    let path = folder.path().join("tokens.json");
    let lock = folder.path().join("tokens.json.lock");
    let store = FileTokenStore::new(&path).lock_timeout(Duration::from_millis(30));
    runtime().block_on(async {
        store.save(&key("operator"), &token("a")).await.expect("the token is stored");
        let held = File::open(&lock).expect("it is there");
        flock(&held, FlockOperation::LockExclusive).expect("it is free");
        let expected = StoreError::Locked { path: lock.clone(), waited: Duration::from_millis(30) };
        assert_eq!(store.save(&key("operator"), &token("b")).await, Err(expected.clone()));
        assert_eq!(store.clear(&key("operator"), &token("a").token).await, Err(expected));
        // Whoever only reads, or has nothing to clear, waits for nobody.
        assert_eq!(store.load(&key("operator")).await, Ok(Some(token("a"))));
        store.clear(&key("operator"), &token("b").token).await.expect("nothing to clear");

        let patient = FileTokenStore::new(&path).lock_timeout(FOR_EVER);
        let saved = tokio::spawn(async move { patient.save(&key("operator"), &token("c")).await });
        tokio::task::yield_now().await;
        drop(held);
        saved.await.expect("it does not panic").expect("the lock is free");
        assert_eq!(store.load(&key("operator")).await, Ok(Some(token("c"))));

        // A lock file that was removed under its holder is another one's to make anew.
        let held = File::open(&lock).expect("it is there");
        flock(&held, FlockOperation::LockExclusive).expect("it is free");
        fs::remove_file(&lock).expect("it can be removed");
        store.save(&key("operator"), &token("d")).await.expect("the new one is free");
    });
}

/// A network without anybody in it.
struct Nowhere;

impl Network for Nowhere {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        std::future::pending().await
    }
}

/// A file system that hangs, as far as a store can see: the lock is held for ever.
#[test]
fn stop_is_final_a_store_that_hangs_holds_up_neither_a_shutdown_nor_its_runtime() {
    let folder = folder();
    let path = folder.path().join("tokens.json");
    let held = File::create(folder.path().join("tokens.json.lock")).expect("a file");
    flock(&held, FlockOperation::LockExclusive).expect("it is free");
    let (ended, ends) = mpsc::channel();
    thread::spawn({
        let path = path.clone();
        move || {
            let runtime = runtime();
            runtime.block_on(async {
                let store = FileTokenStore::new(&path).lock_timeout(FOR_EVER);
                let hangs = tokio::spawn({
                    let store = store.clone();
                    async move { store.save(&key("operator"), &token("a")).await }
                });
                tokio::task::yield_now().await;
                let config = Config::new("ws://127.0.0.1:1").expect("a valid url");
                let config = config.device(DeviceIdentity::from_seed([7; 32]));
                let client =
                    Client::builder().config(config).token_store(store).spawn(Nowhere).expect("valid");
                client.connect();
                client.shutdown().await;
                assert!(!hangs.is_finished());
            });
            drop(runtime);
            ended.send(()).expect("somebody waits");
        }
    });
    ends.recv_timeout(FOR_EVER / 2).expect("it ends");
    // What was begun goes on by itself.
    drop(held);
    let begun = Instant::now();
    let store = FileTokenStore::new(&path);
    while runtime().block_on(store.load(&key("operator"))).expect("the store is whole").is_none() {
        assert!(begun.elapsed() < FOR_EVER, "the save was given up");
        thread::yield_now();
    }
}
