//! What Janus and its VideoRoom plugin say, as far as a client has to understand it.

use crate::scenario::Kind;
use serde_json::Value;

/// Why Janus does not do what it was asked: in words, with its own code if it gave one.
#[derive(Debug)]
pub(super) struct JanusError {
    pub(super) code: Option<i64>,
    pub(super) words: String,
}

impl From<String> for JanusError {
    fn from(words: String) -> Self {
        Self { code: None, words }
    }
}

pub(super) fn lacks(asked: &str, what: &str) -> String {
    format!("Janus answers without {what} when asked to {asked}")
}

/// What a message is to somebody who waits for the answer to `transaction`.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something else, or only a receipt.
    Nothing,
    Answer(Value),
}

/// Judges one message.
pub(super) fn hear(message: Value, transaction: &str, asked: &str) -> Result<Heard, JanusError> {
    if message["transaction"].as_str() != Some(transaction) {
        return Ok(Heard::Nothing);
    }
    let refused = |code: &Value, words: &Value| {
        let (code, words) = (code.as_i64().unwrap_or_default(), words.as_str().unwrap_or("without a reason"));
        JanusError { code: Some(code), words: format!("Janus refuses to {asked}: {words} ({code})") }
    };
    match message["janus"].as_str() {
        Some("ack") => return Ok(Heard::Nothing),
        Some("error") => return Err(refused(&message["error"]["code"], &message["error"]["reason"])),
        _ => {}
    }
    let data = &message["plugindata"]["data"];
    if data["error_code"].is_null() {
        Ok(Heard::Answer(message))
    } else {
        Err(refused(&data["error_code"], &data["error"]))
    }
}

/// The id that an answer gives: of a session or of a handle.
pub(super) fn id(answer: &Value, asked: &str) -> Result<u64, String> {
    answer["data"]["id"].as_u64().ok_or_else(|| lacks(asked, "an id"))
}

/// The description that comes with an answer.
pub(super) fn sdp<'a>(answer: &'a Value, asked: &str) -> Result<&'a str, String> {
    answer["jsep"]["sdp"].as_str().ok_or_else(|| lacks(asked, "a description"))
}

/// Which publisher's stream each m-line of an offer to a subscriber carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) mid: String,
    pub(super) feed: u64,
    pub(super) kind: Kind,
}

/// Reads it. Lines that carry nothing, or neither audio nor video, are left out.
pub(super) fn offered(answer: &Value) -> Vec<Offered> {
    let streams = answer["plugindata"]["data"]["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |stream: &Value| {
        let kind = match stream["type"].as_str()? {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            _ => return None,
        };
        Some(Offered { mid: stream["mid"].as_str()?.to_owned(), feed: stream["feed_id"].as_u64()?, kind })
    };
    streams.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_told_from_everything_else() {
        for (message, want) in [
            (json!({"janus": "ack", "transaction": "t7"}), Ok(false)),
            (json!({"janus": "webrtcup", "sender": 5}), Ok(false)),
            (json!({"janus": "success", "transaction": "t6", "data": {"id": 1}}), Ok(false)),
            (json!({"janus": "success", "transaction": "t7", "data": {"id": 1}}), Ok(true)),
            (
                json!({"janus": "error", "transaction": "t7", "error": {"code": 458, "reason": "No such session"}}),
                Err("Janus refuses to attach: No such session (458)"),
            ),
            (
                json!({"janus": "event", "transaction": "t7", "plugindata": {"plugin": "janus.plugin.videoroom",
                    "data": {"videoroom": "event", "error_code": 428, "error": "No such feed (7)"}}}),
                Err("Janus refuses to attach: No such feed (7) (428)"),
            ),
            (
                json!({"janus": "error", "transaction": "t7"}),
                Err("Janus refuses to attach: without a reason (0)"),
            ),
        ] {
            let words = message.to_string();
            let got = hear(message, "t7", "attach").map(|heard| matches!(heard, Heard::Answer(_)));
            assert_eq!(got.map_err(|why| why.words), want.map_err(str::to_owned), "{words}");
        }
    }

    #[test]
    fn what_an_answer_lacks_is_said() {
        let why = id(&json!({"data": {}}), "create a session").expect_err("no id");
        assert_eq!(why, "Janus answers without an id when asked to create a session");
        let why = sdp(&json!({"jsep": {"type": "answer"}}), "let a publisher in").expect_err("none");
        assert_eq!(why, "Janus answers without a description when asked to let a publisher in");
        assert_eq!(
            id(&json!({"data": {"id": 3_514_328_143_842_346_u64}}), "x").ok(),
            Some(3_514_328_143_842_346)
        );
    }

    #[test]
    fn streams_of_an_offer() {
        let answer = json!({"plugindata": {"data": {"videoroom": "attached", "streams": [
            {"mindex": 0, "mid": "0", "type": "audio", "feed_id": 7, "feed_mid": "0", "send": true},
            {"mindex": 1, "mid": "1", "type": "video", "feed_id": 8, "feed_mid": "1"},
            {"mindex": 2, "mid": "2", "type": "data", "feed_id": 8},
            {"mindex": 3, "mid": "3", "type": "video"},
        ]}}});
        let want = [("0", 7, Kind::Audio), ("1", 8, Kind::Video)];
        let want = want.map(|(mid, feed, kind)| Offered { mid: mid.to_owned(), feed, kind });
        assert_eq!(offered(&answer), want);
        assert_eq!(offered(&json!({})), []);
    }
}
