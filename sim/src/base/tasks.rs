//! The harness's own tasks on a runtime, counted, so that what is left is the client's.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// Counts the tasks of the harness on one runtime. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    alive: Arc<AtomicUsize>,
}

impl Tasks {
    /// Runs `work` as a task of the harness.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.alive.fetch_add(1, Ordering::Relaxed);
        let alive = Alive(Arc::clone(&self.alive));
        let task = tokio::spawn(async move {
            // Goes with the task, however that ends.
            let _alive = alive;
            work.await;
        });
        task.abort_handle()
    }

    /// Tasks of the current runtime that the harness did not start: those of the client under test.
    pub(crate) fn of_others(&self) -> usize {
        let all = Handle::current().metrics().num_alive_tasks();
        all.saturating_sub(self.alive.load(Ordering::Relaxed))
    }
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
