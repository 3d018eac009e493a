//! `wss://` over the simulated network: whom a client trusts, and what it says before it does.

mod certificates;
mod handshakes;
mod identity;
mod pins;
mod site;
mod slow_records;
#[cfg(all(feature = "net", feature = "proxy"))]
mod through_proxies;
