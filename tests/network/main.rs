//! How a gateway is reached: its name, its addresses, and what stands in between.

#[cfg(feature = "cli")]
mod cli;
mod names;
#[cfg(feature = "proxy")]
mod proxies;
#[cfg(feature = "proxy")]
mod real_proxies;
#[cfg(target_os = "linux")]
mod resolving;
#[cfg(feature = "proxy")]
mod servers;
