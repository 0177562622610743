//! `application/trickle-ice-sdpfrag` (RFC 8840 §9): what WHIP and WHEP clients PATCH.

use super::attribute;
use super::error::{SdpError, SdpErrorKind};
use super::limits::{PWD_BYTES, UFRAG_BYTES};
use super::parse::lines;
use super::plan::Plan;
use super::write::{RelaySide, write_bundle, write_ice};

/// What a fragment says. Candidates are counted only: ICE-lite learns addresses from checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IceFragment<'a> {
    /// `a=ice-ufrag`. Other than the known one: the client restarts ICE (RFC 9725 §4.3.2).
    pub ufrag: Option<&'a str>,
    /// `a=ice-pwd`
    pub pwd: Option<&'a str>,
    /// Number of candidates.
    pub candidates: usize,
    pub end_of_candidates: bool,
}

/// Parses a fragment. Its pseudo m-lines tell bundled m-lines apart, which share one transport; so all lines
/// count.
///
/// # Errors
/// The first line that is wrong, and how.
pub fn parse_ice_fragment(text: &str) -> Result<IceFragment<'_>, SdpError> {
    let mut fragment = IceFragment::default();
    for line in lines(text)? {
        match line.attribute() {
            Some(("ice-ufrag", value)) => {
                let value = attribute::ice_credential(value, UFRAG_BYTES);
                fragment.ufrag = Some(value.ok_or(line.error(SdpErrorKind::BadUfrag))?);
            }
            Some(("ice-pwd", value)) => {
                let value = attribute::ice_credential(value, PWD_BYTES);
                fragment.pwd = Some(value.ok_or(line.error(SdpErrorKind::BadPassword))?);
            }
            Some(("candidate", _)) => fragment.candidates += 1,
            Some(("end-of-candidates", _)) => fragment.end_of_candidates = true,
            _ => {}
        }
    }
    Ok(fragment)
}

/// The answer to an ICE restart (RFC 9725 §4.3.2): new credentials and all candidates, for the tagged m-line
/// of the plan that the session runs by. Without a plan (the session was negotiated by an earlier process) at
/// session level.
pub fn write_ice_fragment<'p>(plan: impl Into<Option<&'p Plan>>, relay: &RelaySide) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("a=ice-lite\r\n");
    if let Some(plan) = plan.into() {
        write_bundle(&mut out, &plan.bundle);
        if let Some(answer) = plan.lines.get(plan.tagged) {
            let format = answer.accepted.as_ref().map_or(0, |accepted| accepted.rtp.payload_type);
            out.push_str(&format!("m={} 9 {} {format}\r\n", answer.name, answer.protocol));
            if let Some(mid) = &answer.mid {
                out.push_str(&format!("a=mid:{mid}\r\n"));
            }
        }
    }
    write_ice(&mut out, relay, true);
    out
}
