//! Tests against a real gateway. They are ignored in ordinary runs because they need one installed:
//!
//! ```text
//! tests/real_gateway/install
//! cargo test --test real_gateway -- --ignored
//! ```

#![cfg(feature = "net")]

mod configuring;
mod consumer;
mod device_script;
mod devices;
#[cfg(feature = "tls")]
mod pinning;
mod script;
mod sharing;
mod side_by_side;
mod sockets;
mod support;
mod surviving;

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use support::{Gateway, Options, Readiness, StartError, established_connections, http_get};

/// Started and stopped: what every other test here takes for granted.
#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_gateway_starts_and_stops() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options { until: Readiness::Listening, ..Options::default() };
    let mut gateway = Gateway::start(options).await?;
    let reply = http_get(gateway.port(), "/healthz").await?;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"ok":true,"status":"live"}"#));
    assert_eq!(gateway.url(), format!("ws://127.0.0.1:{}", gateway.port()));

    let status = gateway.stop().await?;
    assert!(status.success(), "{status}; {}", gateway.log());
    assert!(http_get(gateway.port(), "/healthz").await.is_err(), "a stopped gateway answers");
    Ok(())
}

/// The three ways to lose a gateway and get it back: it keeps its port and its home directory, and
/// only the in-process restart keeps the process.
#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_gateway_comes_back_from_a_restart_a_stop_and_a_crash() -> Result<(), Box<dyn std::error::Error>> {
    let mut gateway = Gateway::start(Options::default()).await?;
    let (first, port) = (gateway.pid(), gateway.port());
    gateway.restart_in_process().await?;
    assert_eq!((gateway.pid(), gateway.port()), (first, port));

    let held = TcpStream::connect(("127.0.0.1", port)).await?;
    assert_eq!(established_connections(port)?.len(), 1);
    drop(held);
    assert_eq!(established_connections(port)?, []);

    gateway.stop().await?;
    gateway.start_again().await?;
    let second = gateway.pid();
    assert_eq!(http_get(port, "/readyz").await?.status, 200);

    gateway.kill()?;
    gateway.start_again().await?;
    assert_eq!(http_get(port, "/readyz").await?.status, 200);
    assert!(first != second && second != gateway.pid(), "a new start is a new process");
    Ok(())
}

/// A token that is edited in the configuration file takes effect in the running gateway.
#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_new_token_takes_effect_without_a_restart() -> Result<(), Box<dyn std::error::Error>> {
    let mut gateway = Gateway::start(Options::default()).await?;
    let pid = gateway.pid();
    let first = gateway.token().to_owned();
    assert!(gateway.accepts_token(&first).await?);

    for token in ["the-second-token", "the-third-token"] {
        gateway.set_token(token)?;
        assert_eq!(gateway.token(), token);
        let since = Instant::now();
        while !gateway.accepts_token(token).await? {
            assert!(since.elapsed() < Duration::from_secs(30), "{}", gateway.log());
        }
    }
    assert!(!gateway.accepts_token(&first).await?);
    assert_eq!(gateway.pid(), pid);
    Ok(())
}

/// A gateway that cannot start says so at once, with the gateway's own words.
#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_gateway_that_cannot_start_shows_its_log() {
    let config = serde_json::json!({ "gateway": { "port": "not a port" } });
    let error = Gateway::start(Options { config, ..Options::default() }).await.unwrap_err();
    assert!(matches!(&error, StartError::Ended { log, .. } if log.contains("gateway.port")), "{error}");
}

/// Dropping a gateway, as a test that fails does, leaves no process and no file behind.
#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_dropped_gateway_leaves_nothing_behind() -> Result<(), Box<dyn std::error::Error>> {
    /// The processes whose working directory is `home`, also when that directory is gone. A dead one
    /// that nobody has waited for has no working directory any more.
    fn processes_in(home: &std::path::Path) -> std::io::Result<usize> {
        let home = home.to_str().expect("a temporary directory has a readable name");
        let directories =
            std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.path().join("cwd").read_link().ok());
        Ok(directories.filter(|directory| directory.to_string_lossy().starts_with(home)).count())
    }

    let gateway = Gateway::start(Options::default()).await?;
    let (port, home) = (gateway.port(), gateway.home().to_owned());
    assert!(processes_in(&home)? > 0, "a gateway works in its home directory");
    drop(gateway);
    assert!(!home.exists());
    assert!(http_get(port, "/healthz").await.is_err());
    let since = Instant::now();
    while processes_in(&home)? > 0 {
        assert!(since.elapsed() < Duration::from_secs(10), "a process that the gateway started lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
