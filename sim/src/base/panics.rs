//! Panics of a run, wherever they happen.
//!
//! Runtimes catch the panics of spawned tasks, and turmoil then goes on as if nothing had happened
//! (its `sim.run()` returns `Ok`). A hook sees every panic, so none is lost, and those of a run are
//! kept for its report instead of being printed.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// What the hook has seen on this thread since [`watch`] began.
#[derive(Default)]
struct Caught {
    first: Option<String>,
}

/// Runs `work` and gives back the text of the first panic in it, also of one that was caught.
///
/// Everything in `work` must happen on this thread.
pub fn watch<T>(work: impl FnOnce() -> T) -> (Option<T>, Option<String>) {
    install();
    CAUGHT.with_borrow_mut(|caught| *caught = Some(Caught::default()));
    let result = panic::catch_unwind(panic::AssertUnwindSafe(work));
    let caught = CAUGHT.with_borrow_mut(Option::take).unwrap_or_default();
    (result.ok(), caught.first)
}

fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string().lines().collect::<Vec<_>>().join(" ");
            let watched = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(caught) => {
                    caught.first.get_or_insert(text);
                    true
                }
                None => false,
            });
            if !watched {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_spawned_task_is_not_lost() {
        let (result, panic) = watch(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let task = tokio::spawn(async { panic!("in a task") });
                assert!(task.await.is_err());
            });
        });
        assert!(result.is_some());
        assert!(panic.is_some_and(|text| text.contains("in a task")));
        assert_eq!(watch(|| 1), (Some(1), None));
    }
}
