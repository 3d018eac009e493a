//! Which credential one `connect` presents (protocol 6).

use super::config::{Config, Secret};
use super::effect::StoredToken;

/// What is known of the stored token in one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    /// There is no store, or no device whose token it could hold.
    Unused,
    /// It has been asked for.
    Awaited,
    /// The store has answered; nothing is an answer too.
    Known(Option<StoredToken>),
    /// It could not be read, and the config has credentials that do without it.
    Unreadable,
}

/// The one retry with the stored token beside a refused explicit one (protocol 7.10). It is there
/// again after a hello or with another config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DeviceTokenRetry {
    #[default]
    Available,
    /// The next attempt is it.
    Due,
    Used,
}

/// The credentials of one connect, and where they come from.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) token: Option<&'a Secret>,
    pub(super) device_token: Option<&'a Secret>,
    pub(super) bootstrap_token: Option<&'a Secret>,
    pub(super) password: Option<&'a Secret>,
    pub(super) scopes: Vec<String>,
}

impl<'a> Selection<'a> {
    /// The order of protocol 6.3. A device token is presented as what it is and never as the shared token: there a
    /// gateway would check it as a shared secret first, and count it as a wrong one.
    pub(super) fn of(config: &'a Config, stored: Option<&'a StoredToken>, retry: DeviceTokenRetry) -> Self {
        let given = &config.credentials;
        let alone = given.token.is_none()
            && given.password.is_none()
            && (given.bootstrap_token.is_none() || stored.is_some());
        let usable =
            stored.filter(|_| given.device_token.is_none() && (retry == DeviceTokenRetry::Due || alone));
        let device_token = given.device_token.as_ref().or(usable.map(|stored| &stored.token));
        let token = given.token.as_ref();
        let bootstrap = given.bootstrap_token.as_ref();
        let nothing_else = token.is_none() && device_token.is_none() && given.password.is_none();
        let granted = usable.map(|stored| stored.scopes.clone()).filter(|scopes| !scopes.is_empty());
        let asked = config.scopes.as_ref().map(|scopes| scopes.in_order_given().to_vec());
        Self {
            token,
            device_token,
            bootstrap_token: bootstrap.filter(|_| nothing_else),
            password: given.password.as_ref(),
            scopes: asked.or(granted).unwrap_or_else(Config::default_scopes),
        }
    }

    /// The token that the device signs; a password never is (protocol 6.3f).
    pub(super) fn signed_token(&self) -> &str {
        self.token.or(self.device_token).or(self.bootstrap_token).map_or("", Secret::expose)
    }
}
