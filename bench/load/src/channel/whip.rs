//! In by signaling over HTTP, as encoders and players come: WHIP (RFC 9725) for publishers, WHEP for subscribers.
//!
//! A WHEP session plays one publisher's stream, so a subscriber of several publishers has several transports.

use super::sdp::{self, Line};
use super::{Answered, Channel, ControlChannel, Demands, JoinAnswer, JoinRequest, ServerCounters};
use super::{PUBLISHER_PATIENCE, PUBLISHER_PAUSE};
use relay_core::srtp::SrtpProfile;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, Error};

/// A server answers within this, or is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Our side of DTLS as RFC 9725 §4.4 wants it in an offer.
const SETUP: &str = "actpass";

pub(crate) struct WhipChannel {
    agent: Agent,
    server: Uri,
    /// In front of each room's name: two runs on one server do not meet.
    run: String,
    sessions: Vec<String>,
    /// The relay's counters, if we may read them.
    relay: Option<ControlChannel>,
}

impl WhipChannel {
    pub(crate) fn new(url: &str, relay: Option<ControlChannel>) -> Result<Self, String> {
        let mut seed = [0; 4];
        getrandom::fill(&mut seed).map_err(|why| why.to_string())?;
        let run = format!("load-{:08x}", u32::from_be_bytes(seed));
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = config.timeout_global(Some(PATIENCE)).proxy(None).build().into();
        Ok(Self { agent, server: server_uri(url)?, run, sessions: Vec::new(), relay })
    }

    fn join_one(&mut self, request: &JoinRequest) -> Result<JoinAnswer, String> {
        let url =
            format!("{}{}", self.server.to_string().trim_end_matches('/'), resource(&self.run, request)?);
        let mut answer = self.post(&url, &sdp::offer(request, SETUP))?;
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
        // RFC 9725 §4.2 demands one.
        let location = location.ok_or("the answer has no Location: this is no WHIP server")?;
        self.sessions.push(resolved(&self.server, location)?);
        let body = answer.body_mut().read_to_string().map_err(|why| format!("{url}: {why}"))?;
        let (answer, lines) = sdp::read_answer(&body, request)?;
        with_streams(request, answer, &lines)
    }

    fn post(&self, url: &str, offer: &str) -> Result<Response<Body>, String> {
        let until = Instant::now() + PUBLISHER_PATIENCE;
        loop {
            let request = self.agent.post(url).header("content-type", "application/sdp");
            let response = request.send(offer).map_err(|why| unreachable(url, &why))?;
            // RFC 9725 §4.2 and WHEP: what is asked for is not there yet.
            let is_early = response.status() == 409 && url.contains("/whep/");
            if !is_early || Instant::now() > until {
                return accepted("POST", url, response);
            }
            std::thread::sleep(PUBLISHER_PAUSE);
        }
    }

    fn delete(&self, url: &str) -> Result<(), String> {
        let response = self.agent.delete(url).call().map_err(|why| unreachable(url, &why))?;
        accepted("DELETE", url, response).map(drop)
    }
}

impl Channel for WhipChannel {
    fn demands(&self) -> Demands {
        Demands { profiles: vec![SrtpProfile::AeadAes128Gcm], one_publisher_each: true, local: None }
    }

    fn join(&mut self, requests: &[JoinRequest], answered: Answered<'_>) {
        requests.iter().for_each(|request| answered(request.client, self.join_one(request)));
    }

    fn counters(&mut self) -> Result<ServerCounters, String> {
        self.relay.as_mut().map_or_else(|| Ok(ServerCounters::new()), Channel::counters)
    }

    fn drain(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.drain();
        }
    }

    /// RFC 9725 §4.2: DELETE ends a session. Players go first: they do not outlive whom they play. All are tried, the
    /// first refusal is told.
    fn leave(&mut self) -> Result<(), String> {
        let sessions = std::mem::take(&mut self.sessions);
        let ends: Vec<_> = sessions.iter().rev().map(|url| self.delete(url)).collect();
        ends.into_iter().collect()
    }
}

fn server_uri(url: &str) -> Result<Uri, String> {
    let uri: Option<Uri> = url.parse().ok();
    uri.filter(|uri| uri.scheme_str() == Some("http") && uri.query().is_none())
        .ok_or_else(|| format!("{url}: give a URL such as http://127.0.0.1:8080"))
}

/// A `Location` as a URL: of this server, or the URL that it is (RFC 9110 §10.2.2).
fn resolved(server: &Uri, location: &str) -> Result<String, String> {
    let authority = server.authority().map_or("", |authority| authority.as_str());
    let uri: Option<Uri> = location.parse().ok();
    match uri {
        Some(uri) if uri.scheme().is_some() => Ok(location.to_owned()),
        Some(uri) if uri.path().starts_with('/') => Ok(format!("http://{authority}{location}")),
        _ => Err(format!("{authority}: {location}: a Location that is neither a path nor a URL")),
    }
}

fn unreachable(url: &str, why: &Error) -> String {
    match why {
        Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
            format!("{url}: nobody listens there: start the server, or give another --url")
        }
        why => format!("{url}: {why}"),
    }
}

fn accepted(method: &str, url: &str, mut response: Response<Body>) -> Result<Response<Body>, String> {
    if response.status().is_success() {
        return Ok(response);
    }
    let words = response.body_mut().read_to_string().unwrap_or_default();
    Err(format!("{method} {url} was answered with {}: {}", response.status().as_u16(), words.trim()))
}

/// Where a client is POSTed. Publishers are named after their number; a stream may be asked for by its publisher's name.
fn resource(run: &str, request: &JoinRequest) -> Result<String, String> {
    let room = format!("{run}-{}", request.room);
    if request.publishes {
        return Ok(format!("/whip/{room}?login=publisher{}", request.client));
    }
    match request.streams.first() {
        Some(first) if request.streams.iter().all(|stream| stream.publisher == first.publisher) => {
            Ok(format!("/whep/{room}/publisher{}", first.publisher))
        }
        _ => Err("a WHEP session plays one publisher; --idle needs --channel control".to_owned()),
    }
}

/// An answer to a client whose m-lines are its streams in their order.
fn with_streams(request: &JoinRequest, mut answer: JoinAnswer, lines: &[Line]) -> Result<JoinAnswer, String> {
    if request.publishes {
        answer.ups = lines.iter().map(|line| line.up).collect();
    } else {
        let pairs = request.streams.iter().zip(lines);
        answer.downs = pairs.map(|(stream, line)| line.down(stream.id)).collect::<Result<_, _>>()?;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::super::Up;
    use super::super::tests::request;
    use super::*;
    use crate::scenario::Kind;
    use relay_core::id::{Pt, Ssrc};
    use std::net::TcpListener;

    #[test]
    fn resources() {
        for (publishes, publishers, want) in [
            (true, &[7][..], Some("/whip/load-1-2?login=publisher7")),
            (false, &[3, 3], Some("/whep/load-1-2/publisher3")),
            (false, &[3, 4], None),
            (false, &[], None),
        ] {
            let streams: Vec<_> = publishers.iter().map(|publisher| (Kind::Video, *publisher)).collect();
            let got = resource("load-1", &request(publishes, &streams)).ok();
            assert_eq!(got.as_deref(), want, "{publishers:?}");
        }
    }

    #[test]
    fn urls_and_locations() {
        for (url, location, want) in [
            ("http://127.0.0.1:8080", "/whip/a/1", Some("http://127.0.0.1:8080/whip/a/1")),
            ("http://[::1]:9/live/", "/whip/a/1", Some("http://[::1]:9/whip/a/1")),
            ("http://localhost", "http://b:2/x?y", Some("http://b:2/x?y")),
            ("http://localhost", "x", None),
            ("http://localhost", "/x y", None),
            ("https://localhost:8443", "/x", None),
            ("localhost:8080", "/x", None),
            ("http://", "/x", None),
        ] {
            let got = server_uri(url).and_then(|server| resolved(&server, location));
            assert_eq!(got.ok().as_deref(), want, "{url} {location}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let url = format!("http://127.0.0.1:{port}");
        let why = WhipChannel::new(&url, None).and_then(|channel| channel.delete(&url));
        let want = format!("{url}: nobody listens there: start the server, or give another --url");
        assert_eq!(why, Err(want));
    }

    #[test]
    fn numbers_are_those_of_the_answer() {
        let (publisher, player) = (request(true, &[(Kind::Video, 7)]), request(false, &[(Kind::Video, 7)]));
        let read = |request| sdp::read(&sdp::offer(request, SETUP), request.local).expect("good");
        let (answer, mut lines) = read(&publisher);
        lines[0].up = Up { payload_type: 100, rtx_payload_type: None, transport_seq_id: Some(3) };
        let ups = with_streams(&publisher, answer.clone(), &lines).expect("an answer").ups;
        assert_eq!(ups, [lines[0].up]);
        let down = with_streams(&player, answer, &lines).expect("an answer").downs[0];
        assert_eq!((down.parameters.pt, down.parameters.ssrc), (Pt(100), Ssrc(0x1000_0000)));
        let (answer, silent) = read(&player);
        assert!(with_streams(&player, answer, &silent).is_err());
    }
}
