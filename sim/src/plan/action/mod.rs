//! What can happen in a run, by who does it.

mod app;
mod gateway;
mod link;
mod process;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Params;
use onesocket_gateway::Order;

pub use app::AppAction;
pub use gateway::GatewayAction;
pub use link::LinkFault;
pub use process::ProcessFault;

/// What can happen in a run. Gateways are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The app or one of its consumers does something.
    App(AppAction),
    /// A gateway does something, or somebody who steers it.
    Gateway {
        /// Which gateway.
        gateway: u8,
        /// What.
        order: GatewayAction,
    },
    /// Something becomes of the path to a gateway.
    Link {
        /// The path to which gateway.
        gateway: u8,
        /// What.
        fault: LinkFault,
    },
    /// Something becomes of the client's process.
    Process(ProcessFault),
}

/// Whose doing an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The process of the client: its consumers, and the app around them.
    App,
    /// A gateway, or somebody who steers it.
    Gateway,
    /// The path between client and gateway.
    Link,
    /// The machine that the client's process runs on.
    Machine,
}

impl From<AppAction> for Action {
    fn from(action: AppAction) -> Self {
        Self::App(action)
    }
}

impl From<ProcessFault> for Action {
    fn from(fault: ProcessFault) -> Self {
        Self::Process(fault)
    }
}

impl Action {
    /// Whose doing it is.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::App(_) => Actor::App,
            Self::Gateway { .. } => Actor::Gateway,
            Self::Link { .. } => Actor::Link,
            Self::Process(_) => Actor::Machine,
        }
    }

    /// The gateway it concerns, if it concerns one.
    #[must_use]
    pub fn gateway(&self) -> Option<u8> {
        match self {
            Self::App(action) => action.gateway(),
            Self::Gateway { gateway, .. } | Self::Link { gateway, .. } => Some(*gateway),
            Self::Process(_) => None,
        }
    }

    /// How long it goes on, if it is something that goes on and then ends.
    #[must_use]
    pub fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::App(_) => None,
            Self::Gateway { order, .. } => order.lasts_ms(),
            Self::Link { fault, .. } => fault.lasts_ms(),
            Self::Process(ProcessFault::Suspend { for_ms }) => Some(*for_ms),
        }
    }

    /// The order to a gateway that carries it out, if a gateway does.
    #[must_use]
    pub fn order(&self) -> Option<(u8, Order)> {
        match self {
            Self::Gateway { gateway, order } => Some((*gateway, order.order())),
            Self::App(_) | Self::Link { .. } | Self::Process(_) => None,
        }
    }

    pub(in crate::plan) fn check(&self, params: &Params) -> Result<(), String> {
        match self {
            Self::App(action) => action.check(params),
            Self::Gateway { .. } | Self::Link { .. } | Self::Process(_) => Ok(()),
        }
    }
}

/// In plans an action is one flat table, whoever acts: `do`, `gateway`, and what else it needs.
impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a, T> {
            gateway: u8,
            #[serde(flatten)]
            what: &'a T,
        }
        match self {
            Self::App(action) => action.serialize(serializer),
            Self::Gateway { gateway, order } => Flat { gateway: *gateway, what: order }.serialize(serializer),
            Self::Link { gateway, fault } => Flat { gateway: *gateway, what: fault }.serialize(serializer),
            Self::Process(fault) => fault.serialize(serializer),
        }
    }
}

/// The name says who acts; the rest is read by hand, because flattening would let unknown keys pass.
impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut table = toml::Table::deserialize(deserializer)?;
        let name = table.get("do").ok_or_else(|| D::Error::missing_field("do"))?;
        let name = name.as_str().ok_or_else(|| D::Error::custom("`do` must be the name of an action"))?;
        let actor = actor_of(name).ok_or_else(|| D::Error::custom(unknown(name)))?;
        let mut gateway = || match table.remove("gateway") {
            Some(number) => u8::deserialize(number).map_err(D::Error::custom),
            None => Err(D::Error::missing_field("gateway")),
        };
        match actor {
            Actor::App => part(table).map(Self::App),
            Actor::Gateway => Ok(Self::Gateway { gateway: gateway()?, order: part(table)? }),
            Actor::Link => Ok(Self::Link { gateway: gateway()?, fault: part(table)? }),
            Actor::Machine => part(table).map(Self::Process),
        }
    }
}

fn part<T: serde::de::DeserializeOwned, E: serde::de::Error>(table: toml::Table) -> Result<T, E> {
    T::deserialize(toml::Value::Table(table)).map_err(E::custom)
}

fn actor_of(name: &str) -> Option<Actor> {
    let of = |names: &[&str], actor| names.contains(&name).then_some(actor);
    of(&AppAction::NAMES, Actor::App)
        .or_else(|| of(&GatewayAction::NAMES, Actor::Gateway))
        .or_else(|| of(&LinkFault::NAMES, Actor::Link))
        .or_else(|| of(&ProcessFault::NAMES, Actor::Machine))
}

fn unknown(name: &str) -> String {
    let names: [&[&str]; 4] =
        [&AppAction::NAMES, &GatewayAction::NAMES, &LinkFault::NAMES, &ProcessFault::NAMES];
    let names: Vec<String> = names.concat().iter().map(|name| format!("`{name}`")).collect();
    format!("unknown variant `{name}`, expected one of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What serde says of a name that no enum has, which lists the names it does have.
    fn told<T: for<'de> Deserialize<'de>>() -> String {
        let table = toml::Table::from_iter([("do".to_owned(), toml::Value::from("?"))]);
        T::deserialize(toml::Value::Table(table))
            .err()
            .map_or_else(String::new, |error| error.message().to_owned())
    }

    #[test]
    fn every_action_has_its_name_in_the_list_of_its_actor() {
        let lists: [(&[&str], String); 4] = [
            (&AppAction::NAMES, told::<AppAction>()),
            (&GatewayAction::NAMES, told::<GatewayAction>()),
            (&LinkFault::NAMES, told::<LinkFault>()),
            (&ProcessFault::NAMES, told::<ProcessFault>()),
        ];
        for (names, told) in lists {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            let known = told.split_once("expected ").map(|(_, names)| names.trim_start_matches("one of "));
            assert_eq!(known, Some(names.as_str()), "{told}");
        }
    }

    #[test]
    fn what_is_no_action_is_told_by_the_key() {
        for (text, part) in [
            ("do = \"wake\"\ngateway = 0", "unknown field `gateway`"),
            ("do = \"stop\"\ngateway = 0\nx = 1", "unknown field `x`"),
            ("do = \"stop\"", "missing field `gateway`"),
            ("gateway = 0", "missing field `do`"),
            ("do = \"blip\"\ngateway = 0", "missing field `for_ms`"),
            ("do = \"blip\"\ngateway = 300\nfor_ms = 1", "invalid value: integer `300`"),
            ("do = \"stumble\"", "unknown variant `stumble`, expected one of `connect`, `request`"),
        ] {
            let error = toml::from_str::<Action>(text).expect_err("it is no action").to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
