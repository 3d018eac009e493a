//! What an operator can say, at the prompt or over HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use onesocket_gateway::{Misbehave, Order, RestartMode};

use super::Steering;

/// Something an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An order for the model.
    Order(Order),
    /// Neither reads nor writes for this long.
    Stall(Duration),
    /// Says how the gateway is doing.
    Status,
    /// Lists the commands.
    Help,
    /// Ends the stand-in. Only the prompt can.
    Quit,
}

/// Why something that was said means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WordError {
    /// There is no such word.
    #[error("there is no {0:?}; help lists the commands")]
    Unknown(String),
    /// The word needs something else.
    #[error("{usage}: {why}")]
    Arguments {
        /// The word and what it takes.
        usage: String,
        /// What is wrong.
        why: String,
    },
}

/// One word of the language.
struct Word {
    name: &'static str,
    arguments: &'static str,
    does: &'static str,
    parse: fn(&str) -> Result<Command, String>,
}

const WORDS: &[Word] = &[
    Word {
        name: "restart",
        arguments: "[MS]",
        does: "announces a restart, closes every connection, and listens again after MS (700)",
        parse: |rest| Ok(restart(RestartMode::Graceful, milliseconds(rest, 700)?)),
    },
    Word {
        name: "crash",
        arguments: "[MS]",
        does: "dies without a word, and boots again after MS (700)",
        parse: |rest| Ok(restart(RestartMode::Crash, milliseconds(rest, 700)?)),
    },
    Word {
        name: "stop",
        arguments: "",
        does: "stops as SIGTERM does; `start` boots it again",
        parse: |rest| nothing(rest, Command::Order(Order::Stop)),
    },
    Word {
        name: "start",
        arguments: "",
        does: "boots a gateway that is down",
        parse: |rest| nothing(rest, Command::Order(Order::Start)),
    },
    Word { name: "token", arguments: "TOKEN", does: "changes the shared token", parse: token },
    Word {
        name: "kick",
        arguments: "[CODE [REASON]]",
        does: "closes every connection (1001 \"going away\")",
        parse: kick,
    },
    Word {
        name: "drop",
        arguments: "",
        does: "drops every connection without a close frame",
        parse: |rest| nothing(rest, Command::Order(Order::Terminate)),
    },
    Word {
        name: "drop-next-event",
        arguments: "",
        does: "loses the next event, which leaves a gap in the sequence",
        parse: |rest| nothing(rest, Command::Order(Order::DropNextEvent)),
    },
    Word {
        name: "stall",
        arguments: "[MS]",
        does: "neither reads nor writes for MS (10000); 0 ends a stall",
        parse: |rest| Ok(Command::Stall(milliseconds(rest, 10_000)?)),
    },
    Word {
        name: "refuse",
        arguments: "[MS]",
        does: "answers new connections with 503 for MS (10000)",
        parse: |rest| {
            let lasting = milliseconds(rest, 10_000)?;
            Ok(Command::Order(Order::Misbehave(Misbehave::RefuseUpgrades { lasting })))
        },
    },
    Word {
        name: "emit",
        arguments: "EVENT [JSON]",
        does: "sends an event with this payload ({}) to everybody who may see it",
        parse: emit,
    },
    Word { name: "order", arguments: "JSON", does: "any order of the model, as JSON", parse: order },
    Word {
        name: "behave",
        arguments: "",
        does: "ends every misbehaviour that was ordered and is not over",
        parse: |rest| nothing(rest, Command::Order(Order::Misbehave(Misbehave::Behave))),
    },
    Word {
        name: "status",
        arguments: "",
        does: "says how the gateway is doing, as JSON",
        parse: |rest| nothing(rest, Command::Status),
    },
    Word {
        name: "help",
        arguments: "",
        does: "lists the commands",
        parse: |rest| nothing(rest, Command::Help),
    },
    Word {
        name: "quit",
        arguments: "",
        does: "stops the gateway and ends the stand-in (at the prompt only)",
        parse: |rest| nothing(rest, Command::Quit),
    },
];

impl Command {
    /// Reads what was said: a word and what it takes.
    ///
    /// # Errors
    /// [`WordError`] says in one line what is wrong.
    pub fn parse(said: &str) -> Result<Command, WordError> {
        let (name, rest) = said.trim().split_once(char::is_whitespace).unwrap_or((said.trim(), ""));
        let Some(word) = WORDS.iter().find(|word| word.name == name) else {
            return Err(WordError::Unknown(name.chars().take(40).collect()));
        };
        (word.parse)(rest.trim()).map_err(|why| {
            let usage = format!("{} {}", word.name, word.arguments).trim_end().to_owned();
            WordError::Arguments { usage, why }
        })
    }

    /// Does it, and says what there is to say.
    pub fn apply(&self, steering: &Steering) -> String {
        match self {
            Command::Order(order) => steering.order(order.clone()),
            Command::Stall(lasting) => steering.stall(*lasting),
            Command::Status => {
                return serde_json::to_string(&steering.status()).expect("a status is plain data");
            }
            Command::Help => return help(),
            Command::Quit => {}
        }
        "ok".to_owned()
    }

    /// For logs. A new token is a secret.
    pub(super) fn in_words(&self) -> String {
        match self {
            Command::Order(Order::ChangeToken { .. }) => "a new token".to_owned(),
            Command::Order(Order::ChangePassword { .. }) => "a new password".to_owned(),
            Command::Order(order) => {
                serde_json::to_string(order).expect("an order is plain data").chars().take(200).collect()
            }
            Command::Stall(lasting) => format!("stall for {} ms", lasting.as_millis()),
            Command::Status | Command::Help | Command::Quit => format!("{self:?}").to_lowercase(),
        }
    }
}

/// The commands, one a line.
pub fn help() -> String {
    let usage = |word: &Word| format!("{} {}", word.name, word.arguments);
    let lines = WORDS.iter().map(|word| format!("  {:<24}{}", usage(word), word.does));
    lines.collect::<Vec<_>>().join("\n")
}

fn restart(mode: RestartMode, down: Duration) -> Command {
    Command::Order(Order::Restart { mode, down })
}

fn nothing(rest: &str, command: Command) -> Result<Command, String> {
    if rest.is_empty() { Ok(command) } else { Err("it takes nothing".to_owned()) }
}

fn milliseconds(rest: &str, default: u64) -> Result<Duration, String> {
    if rest.is_empty() {
        return Ok(Duration::from_millis(default));
    }
    let ms = rest.parse().ok().filter(|ms| *ms <= 86_400_000);
    ms.map(Duration::from_millis)
        .ok_or_else(|| "MS is a whole number up to 86400000, which is a day".to_owned())
}

fn token(rest: &str) -> Result<Command, String> {
    if rest.is_empty() {
        return Err("TOKEN is missing".to_owned());
    }
    Ok(Command::Order(Order::ChangeToken { token: rest.to_owned() }))
}

fn kick(rest: &str) -> Result<Command, String> {
    let (code, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let code = if code.is_empty() { Some(1001) } else { code.parse().ok() };
    // These may be sent in a close frame; 1005, 1006 and 1015 are only ever reported.
    let code = code.filter(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999));
    let code = code.ok_or_else(|| "CODE is a close code, such as 1012 or 4000 to 4999".to_owned())?;
    let reason = if rest.is_empty() { "going away" } else { reason.trim() };
    Ok(Command::Order(Order::Kick { code, reason: reason.to_owned() }))
}

fn emit(rest: &str) -> Result<Command, String> {
    let (event, payload) = rest.split_once(char::is_whitespace).unwrap_or((rest, "{}"));
    if event.is_empty() {
        return Err("EVENT is missing".to_owned());
    }
    let payload = payload.trim();
    serde_json::from_str::<Value>(payload).map_err(|error| format!("the payload is no JSON: {error}"))?;
    Ok(Command::Order(Order::Emit { event: event.to_owned(), payload: Arc::from(payload) }))
}

fn order(rest: &str) -> Result<Command, String> {
    let order = serde_json::from_str(rest).map_err(|error| format!("this is no order: {error}"))?;
    Ok(Command::Order(order))
}
