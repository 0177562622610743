//! In by signaling's HTTP door, as encoders and players come: WHIP (RFC 9725) for publishers, WHEP for subscribers.
//!
//! A WHEP session plays one publisher's stream, so a subscriber of several publishers has several transports.

use super::http::{HttpClient, Response};
use super::sdp::{self, Described, Line, Side};
use super::{ControlDoor, Door, Grant, Manners, ON_AIR_PATIENCE, ON_AIR_PAUSE, ServerCounters, Wish};
use crate::scenario::Role;
use relay_core::srtp::SrtpProfile;
use signaling::sdp::Setup;
use std::time::Instant;

const SDP: &str = "application/sdp";

/// See the module.
pub(crate) struct WhipDoor {
    http: HttpClient,
    /// In front of each room's name: two runs on one server do not meet.
    run: String,
    /// Paths of open sessions.
    sessions: Vec<String>,
    /// The relay's counters, if we may read them.
    relay: Option<ControlDoor>,
}

impl WhipDoor {
    pub(crate) fn new(url: &str, relay: Option<ControlDoor>) -> Result<Self, String> {
        let mut seed = [0; 4];
        getrandom::fill(&mut seed).map_err(|why| why.to_string())?;
        let run = format!("load-{:08x}", u32::from_be_bytes(seed));
        Ok(Self { http: HttpClient::new(url)?, run, sessions: Vec::new(), relay })
    }

    fn join_one(&mut self, wish: &Wish) -> Result<Grant, String> {
        let path = self.http.path(&resource(&self.run, wish)?);
        let publishes = wish.role == Role::Publisher;
        let streams = wish.streams.iter().enumerate();
        let lines: Vec<Line> = streams
            .map(|(at, stream)| {
                let ssrcs = publishes.then(|| (stream.ssrc(), stream.rtx_ssrc()));
                Line::offered(at, stream.kind, ssrcs)
            })
            .collect();
        let side = Side {
            credentials: &wish.credentials,
            fingerprint: wish.fingerprint,
            local: wish.local,
            setup: Setup::ActPass,
        };
        let answer = self.post(&path, &sdp::write(&side, &lines))?;
        // RFC 9725 §4.2 demands one.
        let location = answer.location.ok_or("the answer has no Location: this is no WHIP server")?;
        self.sessions.push(self.http.path_of(&location)?);
        let described = sdp::read_answer(&answer.body, lines.len())?;
        grant(wish, &described)
    }

    fn post(&self, path: &str, offer: &str) -> Result<Response, String> {
        let until = Instant::now() + ON_AIR_PATIENCE;
        loop {
            let response = self.http.request("POST", path, Some((SDP, offer)))?;
            match response.status {
                201 => return Ok(response),
                // RFC 9725 §4.2 and WHEP: what is asked for is not there yet.
                409 if path.contains("/whep/") && Instant::now() < until => std::thread::sleep(ON_AIR_PAUSE),
                _ => return Err(refused("POST", path, &response)),
            }
        }
    }

    fn delete(&self, path: String) -> Result<(), String> {
        let response = self.http.request("DELETE", &path, None)?;
        match response.status {
            200 | 204 => Ok(()),
            _ => Err(refused("DELETE", &path, &response)),
        }
    }
}

impl Door for WhipDoor {
    fn manners(&self) -> Manners {
        Manners {
            profiles: vec![SrtpProfile::AeadAes128Gcm],
            one_publisher_each: true,
            local: None,
            wishes_max: 1,
        }
    }

    fn join(&mut self, wishes: &[Wish]) -> Vec<Result<Grant, String>> {
        wishes.iter().map(|wish| self.join_one(wish)).collect()
    }

    fn counters(&mut self) -> Result<ServerCounters, String> {
        self.relay.as_mut().map_or_else(|| Ok(ServerCounters::new()), Door::counters)
    }

    fn tidy(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.tidy();
        }
    }

    /// RFC 9725 §4.2: DELETE ends a session. Players go first: they do not outlive whom they play. All are tried, the
    /// first refusal is told.
    fn leave(&mut self) -> Result<(), String> {
        let sessions = std::mem::take(&mut self.sessions);
        let ends: Vec<_> = sessions.into_iter().rev().map(|path| self.delete(path)).collect();
        ends.into_iter().collect()
    }
}

fn refused(method: &str, path: &str, response: &Response) -> String {
    format!("{method} {path} was answered with {}: {}", response.status, response.body.trim())
}

/// Where a client is POSTed. Publishers are named after their number; a stream may be asked for by its publisher's name.
fn resource(run: &str, wish: &Wish) -> Result<String, String> {
    let room = format!("{run}-{}", wish.room);
    if wish.role == Role::Publisher {
        return Ok(format!("/whip/{room}?login=publisher{}", wish.client));
    }
    match wish.streams.first() {
        Some(first) if wish.streams.iter().all(|stream| stream.publisher == first.publisher) => {
            Ok(format!("/whep/{room}/publisher{}", first.publisher))
        }
        _ => Err("a WHEP session plays one publisher; --idle needs --door control".to_owned()),
    }
}

/// What an answer means for a client whose m-lines are its streams in their order.
fn grant(wish: &Wish, described: &Described) -> Result<Grant, String> {
    let grant = described.grant(wish.local)?;
    let pairs = wish.streams.iter().zip(&described.lines);
    Ok(match wish.role {
        Role::Publisher => Grant { ups: pairs.map(|(_, line)| line.up()).collect(), ..grant },
        Role::Subscriber => {
            let downs = pairs.map(|(stream, line)| line.down(stream.id));
            Grant { downs: downs.collect::<Result<_, _>>()?, ..grant }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{BurstShape, Kind, Shape, Stream};
    use relay_core::id::{Pt, Ssrc};
    use ringvox_client::Credentials;
    use std::time::Duration;

    fn wish(role: Role, publishers: &[u32]) -> Wish {
        let shape =
            Shape::Burst(BurstShape { packets: 1, payload_bytes: 100, interval: Duration::from_secs(1) });
        let stream = |(id, publisher): (usize, &u32)| Stream {
            id: id as u32,
            room: 2,
            kind: Kind::Video,
            shape,
            publisher: *publisher,
        };
        Wish {
            client: 7,
            role,
            room: 2,
            streams: publishers.iter().enumerate().map(stream).collect(),
            credentials: Credentials::from_octets([9; 20]),
            fingerprint: [0; 32],
            local: "127.0.0.1:1".parse().expect("an address"),
        }
    }

    #[test]
    fn resources() {
        for (role, publishers, want) in [
            (Role::Publisher, &[7][..], Some("/whip/load-1-2?login=publisher7")),
            (Role::Subscriber, &[3, 3], Some("/whep/load-1-2/publisher3")),
            (Role::Subscriber, &[3, 4], None),
            (Role::Subscriber, &[], None),
        ] {
            assert_eq!(resource("load-1", &wish(role, publishers)).ok().as_deref(), want, "{publishers:?}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_answer() {
        let line =
            Line { payload_type: 100, rtx_payload_type: None, ..Line::offered(0, Kind::Video, Some((5, 6))) };
        let described = Described {
            credentials: Credentials::from_octets([9; 20]),
            fingerprint: [1; 32],
            candidates: vec!["127.0.0.1:10".parse().expect("an address")],
            lines: vec![line],
        };
        let up = grant(&wish(Role::Publisher, &[7]), &described).expect("a grant").ups[0];
        assert_eq!((up.payload_type, up.rtx_payload_type, up.transport_seq_id), (100, None, Some(3)));
        let down = grant(&wish(Role::Subscriber, &[7]), &described).expect("a grant").downs[0];
        assert_eq!((down.parameters.pt, down.parameters.ssrc), (Pt(100), Ssrc(5)));
        let silent = Described { lines: vec![Line::offered(0, Kind::Video, None)], ..described };
        assert!(grant(&wish(Role::Subscriber, &[7]), &silent).is_err());
    }
}
