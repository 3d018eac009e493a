//! The set of pins that an endpoint is known by.

use std::collections::BTreeSet;

use super::certificate::{CertificatePin, Pin, PublicKeyPin};
use super::error::ConfigError;

/// The pins that a gateway is known by, at least one, and what they mean beside the trust of the system.
///
/// One that matches is enough, so a set holds the present pin and the next one while a gateway's certificate is
/// renewed. Order and repeats do not matter.
///
/// All pins of a set stand for one gateway. What belongs to it, like a stored device token, is kept for each of them
/// and found by each: an endpoint that goes from one pin to both, and later to the other, is never a new gateway, and
/// one that goes to the other at once is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pins {
    pins: BTreeSet<Pin>,
    policy: PinPolicy,
}

/// What pins mean beside the trust of the operating system, or of whatever the network was given in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PinPolicy {
    /// The gateway's certificate must match a pin, and nothing else counts: no authority, no name, no date. For
    /// certificates that a gateway made for itself (protocol 18.2).
    #[default]
    Alone,
    /// The system must trust the gateway's certificate, for its name and at this time, and it or one of the
    /// authorities above it must match a pin. For an authority that is trusted among many: of the authorities, those
    /// count that the gateway presents and that the certificate verifiably comes from.
    AndSystem,
    /// The system must trust the gateway's certificate, or that must match a pin. For a gateway on its way from its own
    /// certificate to one of an authority, or for exceptions that a user made. Somebody else may be at the other
    /// end, if an authority says so.
    OrSystem,
}

impl Pins {
    /// These pins, with the policy [`PinPolicy::Alone`].
    ///
    /// # Errors
    /// [`ConfigError::NoPins`] when there are none: it would be the end of all trust, or of all checks.
    pub fn new(pins: impl IntoIterator<Item = impl Into<Pin>>) -> Result<Self, ConfigError> {
        let pins: BTreeSet<Pin> = pins.into_iter().map(Into::into).collect();
        if pins.is_empty() {
            return Err(ConfigError::NoPins);
        }
        Ok(Self { pins, policy: PinPolicy::default() })
    }

    /// The same pins with this policy.
    #[must_use]
    pub fn with_policy(self, policy: PinPolicy) -> Self {
        Self { policy, ..self }
    }

    /// What they mean beside the trust of the system.
    #[must_use]
    pub fn policy(&self) -> PinPolicy {
        self.policy
    }

    /// The pins, each once, in an order of their own.
    pub fn iter(&self) -> impl Iterator<Item = Pin> + '_ {
        self.pins.iter().copied()
    }

    /// Whether a certificate with this fingerprint, and this public key if it can be read, matches one of the pins.
    #[must_use]
    pub fn matches(&self, certificate: CertificatePin, public_key: Option<PublicKeyPin>) -> bool {
        self.pins.contains(&Pin::Certificate(certificate))
            || public_key.is_some_and(|key| self.pins.contains(&Pin::PublicKey(key)))
    }
}

impl From<Pin> for Pins {
    fn from(pin: Pin) -> Self {
        Self { pins: BTreeSet::from([pin]), policy: PinPolicy::default() }
    }
}

impl From<CertificatePin> for Pins {
    fn from(pin: CertificatePin) -> Self {
        Self::from(Pin::from(pin))
    }
}

impl From<PublicKeyPin> for Pins {
    fn from(pin: PublicKeyPin) -> Self {
        Self::from(Pin::from(pin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repeats_do_not_matter() {
        let one = Pin::from(CertificatePin::of_der(b"one"));
        let two = Pin::from(PublicKeyPin::of_spki_der(b"two"));
        let both = Pins::new([one, two]).expect("there are two");
        assert_eq!(Pins::new([two, one, two]), Ok(both.clone()));
        assert_ne!(Pins::from(one), both);
        assert_ne!(Pins::from(one), Pins::from(one).with_policy(PinPolicy::AndSystem));
        assert_eq!(Pins::new([one]), Ok(Pins::from(one)));
    }

    #[test]
    fn no_pins_are_no_set() {
        assert_eq!(Pins::new(Vec::<Pin>::new()), Err(ConfigError::NoPins));
    }

    /// The two kinds are not mixed up, even where the digests are equal.
    #[test]
    fn right_credential_a_pin_matches_its_own_kind() {
        let (certificate, key) = (CertificatePin::of_der(b"x"), PublicKeyPin::of_spki_der(b"x"));
        let (other_certificate, other_key) = (CertificatePin::of_der(b"y"), PublicKeyPin::of_spki_der(b"y"));
        let by_certificate = Pins::from(certificate);
        assert!(
            by_certificate.matches(certificate, None) && by_certificate.matches(certificate, Some(other_key))
        );
        assert!(!by_certificate.matches(other_certificate, Some(key)));
        let by_key = Pins::from(key);
        assert!(by_key.matches(other_certificate, Some(key)));
        assert!(!by_key.matches(certificate, Some(other_key)) && !by_key.matches(certificate, None));
    }
}
