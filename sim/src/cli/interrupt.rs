//! Ctrl-C, and the signal of a service manager, ask for an end with a report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Takes Ctrl-C (SIGINT), SIGTERM and SIGHUP from now on. To be called before anything is said, so that whoever reads
/// it can interrupt.
pub(super) fn listen() {
    received();
}

/// Whether one of them came since the first call of [`listen`].
pub(super) fn is_received() -> bool {
    received().load(Ordering::Relaxed)
}

fn received() -> &'static AtomicBool {
    static RECEIVED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    RECEIVED.get_or_init(|| {
        let received = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&received);
        // A handler that cannot be installed leaves the signals as they are: they end the process at once.
        let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
        received
    })
}
