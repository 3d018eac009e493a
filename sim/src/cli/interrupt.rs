//! Ctrl-C asks for an end with a report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Takes Ctrl-C from now on. To be called before anything is said, so that whoever reads it can interrupt.
pub(super) fn listen() {
    pressed();
}

/// Whether Ctrl-C was pressed since the first call of [`listen`].
pub(super) fn is_pressed() -> bool {
    pressed().load(Ordering::Relaxed)
}

fn pressed() -> &'static AtomicBool {
    static PRESSED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    PRESSED.get_or_init(|| {
        let pressed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&pressed);
        // A handler that cannot be installed leaves Ctrl-C as it is: it ends the process at once.
        let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
        pressed
    })
}
