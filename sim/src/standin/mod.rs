//! The gateway model on real TCP: a stand-in for a gateway while an app is being developed.
//!
//! ```text
//!   clients ──TCP──▶ listener ──▶ StallableStream ──▶ Host (the model, its clock)
//!                      ▲           │ stalls with the StallSwitch
//!   HTTP, prompt, ─────┴─ Steering ┘
//!   plan
//! ```
//!
//! This is the only part of the crate that touches the network. The listener really closes while the gateway is
//! down, so that clients meet ECONNREFUSED; the control port stays.

pub mod command;
mod control;
mod event_log;
mod lines;
mod listener;
mod plan_playback;
mod stall_switch;
mod stallable_stream;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;

use onesocket_gateway::host::{Host, Observer};
use onesocket_gateway::{Admission, GatewayConfig, GatewayModel, Order};

pub use event_log::EventLog;
pub use plan_playback::{order_of_step, play};

use stall_switch::StallSwitch;

/// What a stand-in is to be.
#[derive(Debug, Clone)]
pub struct StandInConfig {
    /// The gateway's configuration.
    pub config: GatewayConfig,
    /// What ids, nonces and tokens are drawn from.
    pub seed: u64,
    /// Where clients dial; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the HTTP control listens, if anywhere.
    pub control: Option<SocketAddr>,
}

/// Why there is no stand-in.
#[derive(Debug, Error)]
pub enum StandInError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        why: io::Error,
    },
}

/// A gateway on a real port. It serves while [`run`](StandIn::run) is polled.
#[derive(Debug)]
pub struct StandIn {
    steering: Steering,
    listener: TcpListener,
    address: SocketAddr,
    control: Option<(TcpListener, SocketAddr)>,
    event_log: EventLog,
}

impl StandIn {
    /// Listens; from here on dials succeed, and are served as soon as the stand-in runs.
    ///
    /// # Errors
    /// [`StandInError`] if an address cannot be listened on.
    pub async fn bind(
        setup: StandInConfig,
        observer: impl Observer,
        event_log: EventLog,
    ) -> Result<StandIn, StandInError> {
        let (listener, address) = bind(setup.listen).await?;
        let control = match setup.control {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let host = Host::new(GatewayModel::new(setup.config, setup.seed), observer);
        let steering = Steering { host, stall_switch: StallSwitch::default() };
        Ok(StandIn { steering, listener, address, control, event_log })
    }

    /// Where clients dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the HTTP control listens, if it does.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(|(_, address)| *address)
    }

    /// What steers this stand-in while it runs.
    pub fn steering(&self) -> Steering {
        self.steering.clone()
    }

    /// Serves for ever. Dropping the future drops every connection and closes the ports.
    pub async fn run(self) {
        let StandIn { steering, listener, address, control, event_log } = self;
        let controlled = async {
            match control {
                Some((listener, _)) => control::serve(&listener, &steering, &event_log).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(
            steering.host.run_clock(),
            listener::serve(listener, address, &steering, &event_log),
            controlled,
        );
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StandInError> {
    let error = |why| StandInError::Listen { address, why };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}

/// Steers a stand-in. Clones steer the same one.
#[derive(Debug, Clone)]
pub struct Steering {
    host: Host,
    stall_switch: StallSwitch,
}

/// How a stand-in is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// What becomes of a dial: `open`, `unavailable` (503) or `refused`.
    pub admission: &'static str,
    /// Number of the boot, from 1.
    pub boot: u32,
    /// `server.bootId` in a hello.
    pub boot_id: String,
    /// Sockets the gateway holds.
    pub sockets: usize,
    /// Sockets that were sent a hello.
    pub established: usize,
    /// Whether nothing is read or written at present.
    pub stalled: bool,
}

impl Steering {
    /// Gives the model an order.
    pub fn order(&self, order: Order) {
        self.host.order(order);
    }

    /// Neither reads nor writes for a while, as a process that hangs. Zero ends a stall.
    pub fn stall(&self, lasting: Duration) {
        self.stall_switch.close_for(lasting);
    }

    /// Stops the gateway as SIGTERM does and waits until it is down.
    pub async fn shut_down(&self) {
        self.order(Order::Stop);
        self.host.listening(false).await;
    }

    /// How the gateway is doing.
    pub fn status(&self) -> Status {
        self.host.inspect(|model| Status {
            admission: match model.admission() {
                Admission::Open => "open",
                Admission::Unavailable(_) => "unavailable",
                Admission::Refused => "refused",
            },
            boot: model.boot(),
            boot_id: model.boot_id().to_owned(),
            sockets: model.open_sockets(),
            established: model.established_connections(),
            stalled: self.stall_switch.is_closed(),
        })
    }
}
