//! What a close says: some gateways, and proxies in front of them, close where others answer with a refusal.

use super::error::GatewayError;

/// The refusal that a close stands for. `None` if it says nothing that waiting could not mend.
///
/// The code decides first whether the reason is read at all: a gateway that restarts (1012), is busy (1013), breaks
/// (1011) or goes away (1001) is waited for, whatever it writes. Of the reason only the words count, whatever their
/// case and the punctuation between them; more words may follow, because a reason is cut at 120 bytes (protocol 9).
pub(super) fn refusal_of_close(code: u16, reason: &str) -> Option<GatewayError> {
    if !is_read(code) {
        return None;
    }
    let words = words(reason);
    let said = SAID.iter().find(|said| said.is_said_in(&words)).map(|said| said.ground);
    let ground = said.or(match code {
        // Registered for these two, and used without a word.
        3000 => Some(Ground::Refused("INVALID_REQUEST", Some("AUTH_UNAUTHORIZED"))),
        3003 => Some(Ground::Refused("FORBIDDEN", None)),
        _ => None,
    })?;
    let Ground::Refused(top, detail) = ground else { return None };
    Some(GatewayError {
        code: top.into(),
        message: reason.into(),
        detail_code: detail.map(Into::into),
        details: None,
        retryable: false,
        retry_after: None,
        payload: None,
        close_code: Some(code),
    })
}

/// The id of the pairing request that stands at the end of a reason (protocol 7.6), if it was not cut.
pub(super) fn pairing_request_in(reason: &str) -> Option<&str> {
    let mark = "requestid:";
    let at = reason.to_ascii_lowercase().rfind(mark)? + mark.len();
    let (id, _) = reason.get(at..)?.split_once(')')?;
    Some(id.trim())
}

/// Whether a close with this code may be a refusal: the codes for a breach of rules, and those that applications define.
fn is_read(code: u16) -> bool {
    matches!(code, 1000 | 1002 | 1003 | 1007 | 1008 | 1010 | 3000..=4999)
}

/// What words in a reason stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    /// The code and the detail code of the answer that gateways give for the same reason.
    Refused(&'static str, Option<&'static str>),
    /// The next attempt may succeed.
    Passing,
}

struct Said {
    /// Whether the words must be the first ones.
    first: bool,
    phrases: &'static [&'static str],
    ground: Ground,
}

impl Said {
    fn is_said_in(&self, words: &str) -> bool {
        self.phrases.iter().any(|phrase| {
            let found = words.find(&format!(" {phrase} "));
            if self.first { found == Some(0) } else { found.is_some() }
        })
    }
}

const fn anywhere(phrases: &'static [&'static str], code: &'static str, detail: &'static str) -> Said {
    Said { first: false, phrases, ground: Ground::Refused(code, Some(detail)) }
}

/// The first entry that fits counts, so that the narrower stand before the wider.
const SAID: &[Said] = &[
    // A session was ended, and a new one may be had: only the answer to the next `connect` tells (protocol 6.7, 6.8).
    Said {
        first: true,
        phrases: &["gateway auth changed", "client invalidated", "repeated unauthorized calls"],
        ground: Ground::Passing,
    },
    // A proof is made anew for each attempt.
    Said {
        first: false,
        phrases: &["device signature", "device nonce", "device public key", "device identity mismatch"],
        ground: Ground::Passing,
    },
    anywhere(&["scope mismatch"], "INVALID_REQUEST", "AUTH_SCOPE_MISMATCH"),
    anywhere(
        &[
            "device token mismatch",
            "device token revoked",
            "device token invalid",
            "device token expired",
            "device token rejected",
            "device token unknown",
            "invalid device token",
            "unknown device token",
            "stale device token",
        ],
        "INVALID_REQUEST",
        "AUTH_DEVICE_TOKEN_MISMATCH",
    ),
    anywhere(
        &["too many failed authentication attempts", "auth rate limited", "rate limited"],
        "INVALID_REQUEST",
        "AUTH_RATE_LIMITED",
    ),
    anywhere(
        &["bootstrap token invalid", "bootstrap token expired", "invalid bootstrap token"],
        "INVALID_REQUEST",
        "AUTH_BOOTSTRAP_TOKEN_INVALID",
    ),
    anywhere(&["token mismatch", "invalid token", "token invalid"], "INVALID_REQUEST", "AUTH_TOKEN_MISMATCH"),
    anywhere(&["token missing", "missing token", "token required"], "INVALID_REQUEST", "AUTH_TOKEN_MISSING"),
    anywhere(
        &["password mismatch", "invalid password", "password invalid"],
        "INVALID_REQUEST",
        "AUTH_PASSWORD_MISMATCH",
    ),
    anywhere(
        &["password missing", "missing password", "password required"],
        "INVALID_REQUEST",
        "AUTH_PASSWORD_MISSING",
    ),
    anywhere(
        &["pairing rejected", "pairing declined", "pairing denied", "pairing request rejected"],
        "NOT_PAIRED",
        "PAIRING_REJECTED",
    ),
    anywhere(&["pairing expired", "pairing request expired"], "NOT_PAIRED", "PAIRING_EXPIRED"),
    anywhere(
        &["pairing required", "not paired", "upgrade pending approval", "change pending approval"],
        "NOT_PAIRED",
        "PAIRING_REQUIRED",
    ),
    anywhere(
        &["device identity required", "requires device identity", "device required"],
        "NOT_PAIRED",
        "DEVICE_IDENTITY_REQUIRED",
    ),
    anywhere(
        &["protocol mismatch", "protocol version mismatch", "unsupported protocol", "protocol unsupported"],
        "INVALID_REQUEST",
        "PROTOCOL_MISMATCH",
    ),
    anywhere(&["client version mismatch"], "INVALID_REQUEST", "CLIENT_VERSION_MISMATCH"),
    anywhere(&["operator access denied"], "FORBIDDEN", "OPERATOR_ACCESS_DENIED"),
    Said {
        first: true,
        phrases: &[
            "unauthorized",
            "unauthorised",
            "unauthenticated",
            "not authorized",
            "authentication failed",
            "authentication required",
            "auth failed",
            "auth required",
            "invalid credentials",
        ],
        ground: Ground::Refused("INVALID_REQUEST", Some("AUTH_UNAUTHORIZED")),
    },
    Said {
        first: true,
        phrases: &["forbidden", "access denied", "permission denied"],
        ground: Ground::Refused("FORBIDDEN", None),
    },
];

/// The words in lower case, each with a space before and behind it. Everything but letters and digits separates words, so
/// that a code like `AUTH_TOKEN_MISMATCH` is read as its words.
fn words(reason: &str) -> String {
    let mut words = String::from(" ");
    for word in reason.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        words.push_str(&word.to_lowercase());
        words.push(' ');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(code: u16, reason: &str) -> Option<String> {
        let refusal = refusal_of_close(code, reason)?;
        assert_eq!(
            (&*refusal.message, refusal.close_code),
            (reason, Some(code)),
            "nothing of the close is lost"
        );
        Some(refusal.detail_code.map_or_else(|| refusal.code.into(), Into::into))
    }

    /// The reasons that recorded gateways closed with, and variations of them.
    #[test]
    fn a_reason_stands_for_the_answer_with_the_same_words() {
        let cases = [
            (
                "unauthorized: device token mismatch (rotate/reissue device token)",
                "AUTH_DEVICE_TOKEN_MISMATCH",
            ),
            ("device token mismatch", "AUTH_DEVICE_TOKEN_MISMATCH"),
            ("DEVICE TOKEN MISMATCH", "AUTH_DEVICE_TOKEN_MISMATCH"),
            ("Device-Token mismatch.", "AUTH_DEVICE_TOKEN_MISMATCH"),
            ("  AUTH_DEVICE_TOKEN_MISMATCH  ", "AUTH_DEVICE_TOKEN_MISMATCH"),
            ("device token revoked", "AUTH_DEVICE_TOKEN_MISMATCH"),
            (
                "unauthorized: device token scope mismatch (re-pair or approve scope upgrade)",
                "AUTH_SCOPE_MISMATCH",
            ),
            ("unauthorized: gateway token mismatch (provide gateway auth token)", "AUTH_TOKEN_MISMATCH"),
            ("unauthorized: gateway token missing (provide gateway auth token)", "AUTH_TOKEN_MISSING"),
            ("unauthorized: gateway password mismatch (provide it)", "AUTH_PASSWORD_MISMATCH"),
            ("unauthorized: gateway password missing (provide it)", "AUTH_PASSWORD_MISSING"),
            (
                "unauthorized: bootstrap token invalid or expired (scan a fresh setup code)",
                "AUTH_BOOTSTRAP_TOKEN_INVALID",
            ),
            ("unauthorized: too many failed authentication attempts (retry later)", "AUTH_RATE_LIMITED"),
            ("unauthorized", "AUTH_UNAUTHORIZED"),
            ("Unauthorized!", "AUTH_UNAUTHORIZED"),
            ("unauthorized: something new", "AUTH_UNAUTHORIZED"),
            ("authentication failed", "AUTH_UNAUTHORIZED"),
            ("pairing required", "PAIRING_REQUIRED"),
            (
                "pairing required: device identity changed and must be re-approved (requestId: r)",
                "PAIRING_REQUIRED",
            ),
            ("NOT_PAIRED", "PAIRING_REQUIRED"),
            ("scope upgrade pending approval (requestId: r)", "PAIRING_REQUIRED"),
            ("pairing rejected", "PAIRING_REJECTED"),
            ("PAIRING_EXPIRED", "PAIRING_EXPIRED"),
            ("device identity required", "DEVICE_IDENTITY_REQUIRED"),
            (
                "control ui requires device identity (use HTTPS or localhost secure context)",
                "DEVICE_IDENTITY_REQUIRED",
            ),
            ("protocol mismatch", "PROTOCOL_MISMATCH"),
            ("Protocol version mismatch: 5", "PROTOCOL_MISMATCH"),
            ("forbidden", "FORBIDDEN"),
            ("Access denied", "FORBIDDEN"),
            ("OPERATOR_ACCESS_DENIED", "OPERATOR_ACCESS_DENIED"),
        ];
        for (reason, expected) in cases {
            for code in [1000, 1002, 1008, 3000, 4001, 4403, 4999] {
                assert_eq!(detail(code, reason).as_deref(), Some(expected), "{code} {reason:?}");
            }
        }
    }

    #[test]
    fn other_reasons_are_waited_out() {
        for reason in [
            "",
            "slow consumer",
            "connect failed",
            "connect challenge timeout",
            "gateway auth changed",
            "client invalidated: device token revoked",
            "repeated unauthorized calls",
            "gateway message handler loading",
            "invalid request frame",
            "device identity mismatch",
            "device signature expired",
            "device nonce mismatch",
            "unauthorizedness",
            "the device tokens mismatch",
            "origin not allowed (open the Control UI from the gateway host)",
            "ünauthorized",
        ] {
            assert_eq!(detail(1008, reason), None, "{reason:?}");
        }
    }

    #[test]
    fn the_code_decides_whether_the_reason_is_read() {
        for code in [0, 999, 1001, 1005, 1006, 1009, 1011, 1012, 1013, 1014, 1015, 2999, 5000] {
            assert_eq!(detail(code, "device token mismatch"), None, "{code}");
        }
        assert_eq!(detail(3000, "").as_deref(), Some("AUTH_UNAUTHORIZED"));
        assert_eq!(detail(3003, "bye").as_deref(), Some("FORBIDDEN"));
        assert_eq!(detail(3001, ""), None);
    }

    #[test]
    fn the_request_to_approve_is_read_unless_it_was_cut() {
        let reason = "pairing required: device is not approved yet (requestId: 2aaae2b3-6aff)";
        assert_eq!(pairing_request_in(reason), Some("2aaae2b3-6aff"));
        assert_eq!(pairing_request_in("pairing required (REQUESTID:r.1)"), Some("r.1"));
        assert_eq!(pairing_request_in("pairing required (requestId: 2aaae2b3-6a"), None);
        assert_eq!(pairing_request_in("pairing required"), None);
        assert_eq!(pairing_request_in("İ (requestId: r)"), Some("r"));
    }
}
