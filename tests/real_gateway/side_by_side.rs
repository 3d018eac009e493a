//! One scripted session against the real gateway and against the model: what both sent, normalised, is equal but for the
//! differences listed in `differences.toml`, each with its reason.
//!
//! A difference that is not listed fails the test, and so does a listed one that is no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onesocket_gateway::config::{Auth, Latency, Runs};
use onesocket_gateway::{GatewayConfig, Order, RestartMode};
use onesocket_sim::standin::{EventLog, StandIn, StandInConfig, Steering};
use serde::Deserialize;

use crate::script::{Lines, play};
use crate::support::{Gateway, Options};

const TOKEN: &str = "the-first-token";

/// One thing the two do differently.
#[derive(Deserialize)]
struct Difference {
    /// Where: lines that contain this.
    at: String,
    /// Whose lines: `real`, `model`, or `both` if each has its own.
    only: String,
    /// Why that is so, and why it is left so.
    because: String,
    /// Whether it depends on timing and may be absent.
    #[serde(default)]
    sometimes: bool,
}

#[derive(Deserialize)]
struct Differences {
    difference: Vec<Difference>,
}

impl Difference {
    fn covers(&self, whose: &str, line: &str) -> bool {
        (self.only == whose || self.only == "both") && line.contains(&self.at)
    }
}

#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn the_model_says_what_the_gateway_says() -> Result<(), Box<dyn std::error::Error>> {
    let real = real().await?;
    let model = model().await;
    let listed: Differences = toml::from_str(include_str!("differences.toml"))?;
    let mut found: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    found.insert("real", real.difference(&model).collect());
    found.insert("model", model.difference(&real).collect());

    let mut report = String::new();
    for (whose, lines) in &found {
        for line in lines {
            if !listed.difference.iter().any(|difference| difference.covers(whose, line)) {
                report += &format!("only the {whose}: {line}\n");
            }
        }
    }
    for difference in &listed.difference {
        assert!(difference.because.len() > 20, "{}: a reason is a sentence", difference.at);
        let is_seen = |(whose, lines): (&&str, &BTreeSet<&String>)| {
            lines.iter().any(|line| difference.covers(whose, line))
        };
        if !difference.sometimes && !found.iter().any(is_seen) {
            report += &format!("listed, and not there: {} ({})\n", difference.at, difference.only);
        }
    }
    assert!(
        report.is_empty(),
        "{} lines of {} are equal, but:\n{report}",
        real.intersection(&model).count(),
        real.len()
    );
    Ok(())
}

async fn real() -> Result<Lines, Box<dyn std::error::Error>> {
    let mut gateway = Gateway::start(Options::default()).await?;
    assert_eq!(gateway.token(), TOKEN);
    let url = gateway.url();
    let lines = play(&url, TOKEN, async || gateway.restart_in_process().await.expect("it restarts")).await;
    Ok(lines)
}

async fn model() -> Lines {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    let config = GatewayConfig {
        epoch_ms: now.as_millis() as u64,
        auth: Auth::Token(TOKEN.to_owned()),
        // The gateway of these tests has no language model to ask.
        runs: Runs { error: Some("no model".to_owned()), duration: Latency::fixed_ms(300), events: true },
        ..GatewayConfig::default()
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let setup = StandInConfig { config, seed: 1, listen, control: None };
    let standin = StandIn::bind(setup, (), EventLog::silent()).await.expect("a port is free");
    let (url, steering) = (format!("ws://{}", standin.address()), standin.steering());
    let serving = tokio::spawn(standin.run());
    let lines = play(&url, TOKEN, async || restart(&steering).await).await;
    serving.abort();
    lines
}

async fn restart(steering: &Steering) {
    steering.order(Order::Restart { mode: RestartMode::Graceful, down: Duration::from_millis(100) });
    while steering.status().boot < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
