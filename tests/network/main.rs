//! How a gateway is reached: its name, its addresses, and what stands in between.

mod names;
#[cfg(feature = "proxy")]
mod proxies;
