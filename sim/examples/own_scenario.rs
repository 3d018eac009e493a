//! A scenario of an app's own, with this crate as a dev-dependency.

use onesocket_sim::plan::Tier;
use onesocket_sim::plan::{AppAction, GatewayAction, Plan};
use onesocket_sim::scenario::{check, check_app};

pub(crate) fn main() {
    // The gateway dies while a request is in flight, and comes back with another token, which the app learns late.
    let token = || "rotated".to_owned();
    let plan = Plan::new(1)
        .at(0, AppAction::Subscribe { consumer: 0 })
        .at(900, AppAction::Request { consumer: 1, method: "test.never".to_owned(), timeout_ms: 10_000 })
        .at(1_000, GatewayAction::Restart { down_ms: 3_000, crash: true }.of(0))
        .at(5_000, GatewayAction::ChangeToken { token: token() }.of(0))
        .at(9_000, AppAction::Configure { gateway: 0, token: token() });
    for tier in Tier::ALL {
        check(&plan, tier);
    }
    // The same, with code of the app: what it shows after the change must be what the gateway says then.
    check_app(&plan, |client| async move {
        tokio::time::sleep(std::time::Duration::from_secs(12)).await;
        client.request("health", ()).await.expect("the new token is in force");
    });
}
