//! The port clients dial: open while the gateway listens, closed while it is down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use onesocket_gateway::Peer;

use super::wire::Wire;
use super::{Journal, Steering};

/// Connections at a time, of all kinds: it bounds memory, and stays below the usual limit of open files.
const CONNECTIONS_MAX: usize = 512;
/// How long to wait after an error that will not go away by itself at once.
const RETRY: Duration = Duration::from_millis(100);

/// Serves clients for ever, in every boot of the gateway.
pub(super) async fn serve(first: TcpListener, address: SocketAddr, steering: &Steering, journal: &Journal) {
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut listener = first;
    loop {
        serve_boot(listener, &mut connections, &room, steering, journal).await;
        steering.host.listening(true).await;
        listener = bind_again(address, journal).await;
    }
}

/// Accepts until the gateway is down; returning closes the port.
async fn serve_boot(
    listener: TcpListener,
    connections: &mut JoinSet<()>,
    room: &Arc<Semaphore>,
    steering: &Steering,
    journal: &Journal,
) {
    loop {
        tokio::select! {
            biased;
            () = steering.host.listening(false) => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => accept(stream, from, connections, room, steering, journal),
                Err(error) => rest_after(&error, journal).await,
            },
        }
    }
}

fn accept(
    stream: TcpStream,
    from: SocketAddr,
    connections: &mut JoinSet<()>,
    room: &Arc<Semaphore>,
    steering: &Steering,
    journal: &Journal,
) {
    let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
        journal.write(&format!("a connection was dropped: there are {CONNECTIONS_MAX} already"));
        return;
    };
    let peer = if from.ip().to_canonical().is_loopback() { Peer::LOCAL } else { Peer::REMOTE };
    let wire = Wire::new(stream, permit, steering.gate.clone());
    connections.spawn(steering.host.serve(wire, peer));
}

/// A client that is gone before it is accepted is its own affair; too many open files are ours.
async fn rest_after(error: &io::Error, journal: &Journal) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
        _ => {
            journal.write(&format!("a connection could not be accepted: {error}"));
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Somebody may have taken the port while the gateway was down; it is taken back when they are gone.
async fn bind_again(address: SocketAddr, journal: &Journal) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !said => {
                said = true;
                journal.write(&format!("cannot listen on {address} again: {error}; trying on"));
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}
