//! The port clients dial: open while the gateway listens, closed while it is down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use onesocket_gateway::Peer;

use super::stallable_stream::StallableStream;
use super::{EventLog, Steering};

/// Connections at a time, of all kinds: it bounds memory, and stays below the usual limit of open files.
const CONNECTIONS_MAX: usize = 512;
/// How long to wait after an error that will not go away by itself at once.
const RETRY: Duration = Duration::from_millis(100);

/// Serves clients for ever, in every boot of the gateway.
pub(super) async fn serve(
    first: TcpListener,
    address: SocketAddr,
    steering: &Steering,
    event_log: &EventLog,
) {
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut listener = first;
    loop {
        serve_boot(listener, &mut connections, &room, steering, event_log).await;
        steering.host.listening(true).await;
        listener = bind_again(address, event_log).await;
    }
}

/// Accepts until the gateway is down; returning closes the port.
async fn serve_boot(
    listener: TcpListener,
    connections: &mut JoinSet<()>,
    room: &Arc<Semaphore>,
    steering: &Steering,
    event_log: &EventLog,
) {
    loop {
        tokio::select! {
            biased;
            () = steering.host.listening(false) => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => accept(stream, from, connections, room, steering, event_log),
                Err(error) => rest_after(&error, event_log).await,
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
    event_log: &EventLog,
) {
    let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
        event_log.write(&format!("a connection was dropped: there are {CONNECTIONS_MAX} already"));
        return;
    };
    let peer = if from.ip().to_canonical().is_loopback() { Peer::LOCAL } else { Peer::REMOTE };
    let stallable_stream = StallableStream::new(stream, permit, steering.stall_switch.clone());
    connections.spawn(steering.host.serve(stallable_stream, peer));
}

/// A client that is gone before it is accepted is its own affair; too many open files are ours.
async fn rest_after(error: &io::Error, event_log: &EventLog) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
        _ => {
            event_log.write(&format!("a connection could not be accepted: {error}"));
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Somebody may have taken the port while the gateway was down; it is taken back when they are gone.
async fn bind_again(address: SocketAddr, event_log: &EventLog) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !said => {
                said = true;
                event_log.write(&format!("cannot listen on {address} again: {error}; trying on"));
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}
