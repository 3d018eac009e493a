//! Events of the protocol that the time of a step can be counted from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::GATEWAYS;
use onesocket_gateway::named;

named! {
    /// What can be counted, as it is seen in a trace.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum MilestoneKind {
        /// The client begins to dial.
        Dial = "dial",
        /// A gateway accepts a socket.
        Accepted = "accepted",
        /// A gateway receives credentials.
        Connect = "connect",
        /// A gateway says hello.
        Hello = "hello",
        /// A gateway refuses a connect.
        Refused = "refused",
        /// A gateway receives a consumer's request.
        Request = "request",
        /// A gateway begins to close a connection.
        Closed = "closed",
        /// A gateway drops a connection.
        Dropped = "dropped",
        /// A connection is gone for a gateway.
        Gone = "gone",
        /// A gateway deviates from the protocol.
        Misbehaved = "misbehaved",
        /// A gateway is down.
        Down = "down",
        /// A gateway is up again.
        Booted = "booted",
        /// A fault that lasts is over.
        Healed = "healed",
        /// The client lets go of a socket.
        Released = "released",
        /// The client is connected.
        Ready = "ready",
        /// The client waits for its next dial.
        Backoff = "backoff",
        /// The client waits for somebody to act.
        Paused = "paused",
        /// The client begins to close its socket.
        Closing = "closing",
        /// A subscriber gets a snapshot.
        Snapshot = "snapshot",
        /// A subscriber gets an event.
        Event = "event",
        /// A subscriber is told of a gap.
        Gap = "gap",
        /// A request ends.
        Settled = "settled",
    }
}

impl MilestoneKind {
    /// Whether it happens at some gateway, and not to the client alone.
    #[must_use]
    pub const fn is_of_gateway(self) -> bool {
        match self {
            Self::Dial
            | Self::Accepted
            | Self::Connect
            | Self::Hello
            | Self::Refused
            | Self::Request
            | Self::Closed
            | Self::Dropped
            | Self::Gone
            | Self::Misbehaved
            | Self::Down
            | Self::Booted
            | Self::Healed
            | Self::Released => true,
            Self::Ready
            | Self::Backoff
            | Self::Paused
            | Self::Closing
            | Self::Snapshot
            | Self::Event
            | Self::Gap
            | Self::Settled => false,
        }
    }
}

/// A kind of event and which one of them, counted from the beginning of the run.
///
/// Its text is `hello 3` for the third hello of any gateway, or `hello 3 of 1` for the third of gateway 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Milestone {
    /// What is counted.
    pub kind: MilestoneKind,
    /// Which one, from 1.
    pub number: u32,
    /// At which gateway; at any if there is none.
    pub gateway: Option<u8>,
}

/// Why a text is no milestone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MilestoneError {
    /// It is built differently.
    #[error("{text:?} is no milestone: write \"hello 3\", or \"hello 3 of 1\" for gateway 1")]
    Form {
        /// The text.
        text: String,
    },
    /// Nothing of this name is counted.
    #[error("{word:?} is no milestone: there are {}", words())]
    Kind {
        /// The name.
        word: String,
    },
    /// Counting begins with one.
    #[error("{text:?} is no milestone: the first {word} has number 1")]
    Number {
        /// The text.
        text: String,
        /// What it counts.
        word: &'static str,
    },
    /// What it counts happens to the client, not at a gateway.
    #[error("{text:?} is no milestone: {word} happens to the client, so leave the gateway out")]
    NotOfGateway {
        /// The text.
        text: String,
        /// What it counts.
        word: &'static str,
    },
    /// There is no such gateway.
    #[error("{text:?} is no milestone: there are only {GATEWAYS} gateways, numbered from 0")]
    Gateway {
        /// The text.
        text: String,
    },
}

fn words() -> String {
    let words: Vec<&str> = MilestoneKind::ALL.iter().map(|kind| kind.name()).collect();
    words.join(", ")
}

impl FromStr for Milestone {
    type Err = MilestoneError;

    fn from_str(text: &str) -> Result<Self, MilestoneError> {
        let form = || MilestoneError::Form { text: text.to_owned() };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (word, number, gateway) = match parts[..] {
            [word, number] => (word, number, None),
            [word, number, "of", gateway] => (word, number, Some(gateway)),
            _ => return Err(form()),
        };
        let kind = MilestoneKind::ALL.iter().copied().find(|kind| kind.name() == word);
        let kind = kind.ok_or_else(|| MilestoneError::Kind { word: word.to_owned() })?;
        let number: u32 = number.parse().map_err(|_| form())?;
        if number == 0 {
            return Err(MilestoneError::Number { text: text.to_owned(), word: kind.name() });
        }
        let gateway = match gateway.map(str::parse::<u8>) {
            None => None,
            Some(Ok(gateway)) if gateway < GATEWAYS => Some(gateway),
            Some(Ok(_) | Err(_)) => return Err(MilestoneError::Gateway { text: text.to_owned() }),
        };
        if gateway.is_some() && !kind.is_of_gateway() {
            return Err(MilestoneError::NotOfGateway { text: text.to_owned(), word: kind.name() });
        }
        Ok(Self { kind, number, gateway })
    }
}

impl TryFrom<String> for Milestone {
    type Error = MilestoneError;

    fn try_from(text: String) -> Result<Self, MilestoneError> {
        text.parse()
    }
}

impl From<Milestone> for String {
    fn from(milestone: Milestone) -> Self {
        milestone.to_string()
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.number)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, " of {gateway}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_text_form() {
        for kind in MilestoneKind::ALL.iter().copied() {
            let gateway = kind.is_of_gateway().then_some(1);
            for milestone in
                [Milestone { kind, number: 1, gateway: None }, Milestone { kind, number: 12, gateway }]
            {
                assert_eq!(milestone.to_string().parse(), Ok(milestone));
            }
        }
    }

    #[test]
    fn what_is_no_milestone_is_told_why() {
        let error = |text: &str| text.parse::<Milestone>().unwrap_err().to_string();
        assert!(error("hello").contains("write \"hello 3\""), "{}", error("hello"));
        assert!(error("hello third").contains("write \"hello 3\""));
        assert!(error("hallo 3").contains("there are dial, accepted"));
        assert!(error("hello 0").contains("the first hello has number 1"));
        assert!(error("hello 3 of 9").contains("numbered from 0"));
        assert!(error("ready 1 of 0").contains("leave the gateway out"));
    }
}
