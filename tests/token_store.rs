//! `right_credential`: where device tokens are kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use onesocket::core::{Endpoint, Secret, StoredToken, TokenKey};
use onesocket::token_store::{FileTokenStore, MemoryTokenStore, TokenStore};

fn key(role: &str) -> TokenKey {
    at(role, "ws://127.0.0.1:18789")
}

fn at(role: &str, url: &str) -> TokenKey {
    TokenKey::new("d", role, &Endpoint::parse(url).expect("a valid url"))
}

fn token(text: &str) -> StoredToken {
    StoredToken { token: Secret::trimmed(text).expect("not blank"), scopes: vec!["operator.read".to_owned()] }
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
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tokens.json");
    let store = FileTokenStore::new(&path);
    keeps_tokens(&store).await;
    let mode = fs::metadata(&path).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Another store on the same file, as in the next run of the app.
    assert_eq!(FileTokenStore::new(&path).load(&key("node")).await, Ok(Some(token("b"))));
    let leftovers = fs::read_dir(folder.path()).expect("the folder can be read").count();
    assert_eq!(leftovers, 1, "no half-written file is left");
}

/// What a file of an earlier version holds, which named gateways by host and port only.
const EARLIER: &str = r#"{"version":1,"tokens":{
    "d|operator|127.0.0.1:18789":{"token":"a","scopes":["operator.read"]},
    "d|operator|::1:18789":{"token":"b","scopes":["operator.read"]}}}"#;

#[tokio::test]
async fn right_credential_a_token_of_an_earlier_version_is_found_where_it_can_be_no_other_gateways() {
    let folder = tempfile::tempdir().expect("a temporary folder");
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

#[tokio::test]
async fn right_credential_a_damaged_file_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tokens.json");
    for damaged in ["{\"version\":1,\"tokens\":{\"secret-text", "{\"version\":9,\"tokens\":{}}", "[]"] {
        fs::write(&path, damaged).expect("the file can be written");
        let store = FileTokenStore::new(&path);
        let error = store.load(&key("operator")).await.expect_err("a damaged file is not an empty one");
        assert!(!error.to_string().contains("secret-text"), "{error}");
        store.save(&key("operator"), &token("a")).await.expect_err("and it is not overwritten");
        assert_eq!(fs::read_to_string(&path).expect("the file is there"), damaged);
    }
}

#[tokio::test]
async fn right_credential_a_folder_that_is_missing_is_an_error_that_names_the_file() {
    let store = FileTokenStore::new("/no/such/folder/tokens.json");
    let error = store.save(&key("operator"), &token("a")).await.expect_err("there is no such folder");
    assert!(error.to_string().contains("/no/such/folder/tokens.json"), "{error}");
}
