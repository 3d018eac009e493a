//! Text from other programs, and text from a peer.

#[cfg(unix)]
use std::ffi::OsStr;

use onesocket::core::peer_text::needs_escape;

use super::*;

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn right_credential_a_token_file_may_come_from_any_editor() {
    let gateway = Gateway::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let call = ["call", "test.echo", "1", "--url", &gateway.url, "--token-file", path];
    for bytes in [
        format!("\u{feff}{TOKEN}\r\n").into_bytes(),
        format!("\n\t {TOKEN} \n\n").into_bytes(),
        utf16(&format!("\u{feff}{TOKEN}\r\n"), u16::to_le_bytes),
        utf16(&format!("\u{feff}{TOKEN}"), u16::to_be_bytes),
    ] {
        std::fs::write(path, &bytes).unwrap();
        assert_eq!(answer(&run(&call, &[]).await), json!(1), "{bytes:?}");
    }
    for (bytes, problem) in [
        (Vec::new(), "is empty"),
        (b"\xef\xbb\xbf \r\n".to_vec(), "is empty"),
        (format!("{TOKEN}\nmore").into_bytes(), "holds more than one line"),
        (utf16(TOKEN, u16::to_le_bytes), "holds NUL bytes"),
        (b"test-\xe9".to_vec(), "is not text"),
        ("test\u{200b}-token".to_owned().into_bytes(), "holds the invisible character U+200B"),
    ] {
        std::fs::write(path, &bytes).unwrap();
        let output = run(&call, &[]).await;
        let line = complaint(&output, 2);
        assert!(line.contains(problem) && line.contains(path), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn right_credential_variables_are_read_or_named() {
    let gateway = Gateway::start().await;
    let token = format!("\u{feff}{TOKEN}\n");
    let environment = [("OPENCLAW_GATEWAY_URL", &*gateway.url), ("OPENCLAW_GATEWAY_TOKEN", &token)];
    assert_eq!(answer(&run(&["call", "test.echo", "1"], &environment).await), json!(1));
    // A blank variable counts as not set.
    let blank = [("OPENCLAW_GATEWAY_URL", " "), ("OPENCLAW_GATEWAY_TOKEN", TOKEN), ("HTTPS_PROXY", "")];
    let arguments = ["--url", &gateway.url, "call", "test.echo", "1"];
    assert_eq!(answer(&run(&arguments, &blank).await), json!(1));
    let lines = [("OPENCLAW_GATEWAY_TOKEN", "a\nb")];
    assert!(
        complaint(&run(&arguments, &lines).await, 2)
            .contains("OPENCLAW_GATEWAY_TOKEN holds more than one line")
    );

    #[cfg(unix)]
    for name in [
        "OPENCLAW_GATEWAY_URL",
        "OPENCLAW_GATEWAY_TOKEN",
        "OPENCLAW_GATEWAY_PASSWORD",
        "OPENCLAW_GATEWAY_HEADERS",
        "ALL_PROXY",
    ] {
        use std::os::unix::ffi::OsStrExt;
        let mut command = Command::new(env!("CARGO_BIN_EXE_onesocket"));
        // No proxy is asked for to reach this machine.
        let far: &[&str] = if name == "ALL_PROXY" { &["--url", "ws://192.168.1.1:9"] } else { &[] };
        command.arg("status").args(far).env_clear().env(name, OsStr::from_bytes(b"ws://\xff"));
        let output = command.output().await.unwrap();
        assert!(complaint(&output, 2).contains(&format!("the variable {name} is not text")), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_from_a_file_or_standard_input() {
    let gateway = Gateway::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), utf16("\u{feff}{\"a\": [1]}\r\n", u16::to_le_bytes)).unwrap();
    let params = format!("@{}", file.path().display());
    let output = gateway.run(&["call", "test.echo", &params, "--json"]).await;
    assert_eq!(answer(&output), json!({"a": [1]}));
    std::fs::write(file.path(), "{").unwrap();
    assert!(complaint(&gateway.run(&["call", "test.echo", &params]).await, 2).contains("are not JSON"));
    let output = gateway.run(&["call", "test.echo", "@/no/such/file"]).await;
    assert!(
        complaint(&output, 2).contains("the file with parameters /no/such/file cannot be read"),
        "{output:?}"
    );
    // Standard input is empty here.
    assert!(complaint(&gateway.run(&["call", "test.echo", "@-"]).await, 2).contains("is empty"));
}

/// A gateway that says this wherever it can: in hello, in events, and in refusals of calls.
async fn says(text: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let challenge =
                json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}});
            socket.send(Message::text(challenge.to_string())).await.unwrap();
            while let Some(Ok(Message::Text(request))) = socket.next().await {
                let request: Value = serde_json::from_str(&request).unwrap();
                let mut answer = json!({"type":"res", "id":request["id"]});
                if request["method"] == "connect" {
                    answer["ok"] = json!(true);
                    answer["payload"] = json!({
                        "type":"hello-ok", "protocol":4,
                        "server":{"version":text, "connId":text, "bootId":text},
                        "snapshot":{"presence":[{"host":text, "ts":1}], "health":{text:text}, "stateVersion":{"presence":1,"health":1}},
                        "auth":{"role":text, "scopes":[text]},
                    });
                } else if request["method"] == "yes" {
                    (answer["ok"], answer["payload"]) = (json!(true), json!({text:text}));
                } else {
                    answer["ok"] = json!(false);
                    answer["error"] = json!({"code":text, "message":text, "details":{"code":text}});
                }
                let event = json!({"type":"event", "event":text, "seq":1, "payload":{"t":text}});
                for frame in [answer, event] {
                    // The client may have left.
                    let _ = socket.send(Message::text(frame.to_string())).await;
                }
            }
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_peer_does_anything_to_a_terminal() {
    let url = says("a\u{1b}[31m\r\n\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}\u{e0041}z").await;
    for (arguments, code) in [
        (&["status"][..], 0),
        (&["status", "--json"], 0),
        (&["call", "yes"], 0),
        (&["call", "yes", "--json"], 0),
        (&["call", "no\u{1b}[31m\u{202e}"], 1),
        (&["watch", "--count", "2"], 0),
        (&["watch", "--count", "2", "--json"], 0),
        (&["call", "x", "@/no/\u{1b}[31m\u{202e}file"], 2),
        (&["status", "--token-file", "/no/\u{1b}[31m\nfile"], 2),
        (&["status", "--url", "ws://\u{1b}[31m\u{202e}"], 2),
        (&["watch", "--header", "a\u{202e}: b"], 2),
    ] {
        let output = run(&[&["--url", &*url][..], arguments].concat(), &[]).await;
        let output = if arguments.contains(&"--url") { run(arguments, &[]).await } else { output };
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
        for text in [&output.stdout, &output.stderr] {
            let text = std::str::from_utf8(text).unwrap();
            let odd = text.chars().find(|c| needs_escape(*c) && *c != '\n');
            assert_eq!(odd, None, "{arguments:?} {text:?}");
            if arguments.contains(&"--json") {
                assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
            }
        }
        assert!(
            output.stderr.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() <= 1,
            "{output:?}"
        );
    }
}
