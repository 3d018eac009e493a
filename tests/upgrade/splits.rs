//! Answers in any segments: TCP keeps the bytes and nothing else.

use std::time::Duration;

use onesocket::core::{ConnectionError, DialError, Options, PauseReason, Status};
use proptest::prelude::*;

use crate::rig::{ACCEPT, Stubborn, acceptance, answer_to, config, dial_error, first_status};

/// Parts of answers: whole ones, heads and bodies, what belongs to other protocols, and noise.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let accepted = acceptance("Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n");
    let texts = [
        "HTTP/1.1 101 Switching Protocols\r\n",
        "HTTP/1.1 302 Found\r\n",
        "HTTP/1.1 503 \r\n",
        "HTTP/1.0 400\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        &accepted,
        accepted.trim_end(),
        "Location: /\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "no header\r\n",
        "\r\n",
        "\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "<html>é</html>",
        "SSH-2.0-x\r\n",
        "220 x\r\n",
        "\u{15}\u{3}\u{1}",
    ];
    let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    prop_oneof![9 => prop::sample::select(texts), 1 => prop::collection::vec(any::<u8>(), 0..80)]
}

/// What becomes of an answer, in words without times.
fn outcome(answer: &[u8], cuts: Vec<usize>) -> String {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let network = Stubborn::new(answer).in_segments(cuts, Duration::ZERO).that_ends();
        let outcome = match first_status(&network, config("ws://127.0.0.1:1"), Options::default()).await.0 {
            Status::Backoff { cause, .. } if matches!(*cause, ConnectionError::Dial(_)) => {
                whole(&dial_error(&cause))
            }
            // What follows the answer are frames, which may be broken.
            Status::Backoff { .. } => "open".to_owned(),
            Status::Paused(reason) => match &*reason {
                PauseReason::Upgrade(refusal) => whole(&DialError::Upgrade(refusal.clone())),
                reason => format!("{reason:?}"),
            },
            Status::Handshaking { .. } => "open".to_owned(),
            other => panic!("{other:?}"),
        };
        // Keys are drawn.
        let accept = answer_to(&network.requests.lock().unwrap()[0], ACCEPT.as_bytes());
        outcome.replace(std::str::from_utf8(&accept).unwrap(), ACCEPT)
    })
}

/// Without the cuts that texts have when they are shown.
fn whole(error: &DialError) -> String {
    match error {
        DialError::Upgrade(refusal) => {
            let (reason, body) = (refusal.reason.as_str(), refusal.body.as_str());
            format!("{} {reason} {:?} {body}", refusal.status, refusal.location)
        }
        error => format!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_wedge_segments_do_not_change_what_an_answer_means(
        parts in prop::collection::vec(part(), 0..8),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let answer = parts.concat();
        let at_once = outcome(&answer, vec![usize::MAX]);
        prop_assert_eq!(&outcome(&answer, vec![1]), &at_once, "in single bytes");
        prop_assert_eq!(outcome(&answer, cuts), at_once);
    }
}
