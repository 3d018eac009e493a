//! A scenario of an app's own, with this crate as a dev-dependency.

use onesocket_sim::plan::Tier;
use onesocket_sim::plan::{Action, Plan};
use onesocket_sim::scenario::check::{check, check_app};

pub(crate) fn main() {
    // The gateway dies while a request is in flight, and comes back with another token, which the app learns late.
    let token = || "rotated".to_owned();
    let plan = Plan::new(1)
        .at(0, Action::Subscribe { consumer: 0 })
        .at(900, Action::Request { consumer: 1, method: "test.never".to_owned(), timeout_ms: 10_000 })
        .at(1_000, Action::Restart { gateway: 0, down_ms: 3_000, crash: true })
        .at(5_000, Action::ChangeToken { gateway: 0, token: token() })
        .at(9_000, Action::Configure { gateway: 0, token: token() });
    for tier in Tier::ALL {
        check(&plan, tier);
    }
    // The same, with code of the app: what it shows after the change must be what the gateway says then.
    check_app(&plan, |client| async move {
        tokio::time::sleep(std::time::Duration::from_secs(12)).await;
        client.request("health", ()).await.expect("the new token is in force");
    });
}
