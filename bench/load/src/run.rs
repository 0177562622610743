//! One run: publishers join, then subscribers, then windows are measured.

use crate::door::Door;
use crate::engine::Addresses;
use crate::scenario::Plan;
use crate::session::{Churn, Joins, Memory, Session, Window};
use crate::target::Target;
use ringvox_client::Agreed;
use std::time::Duration;

/// How often memory is read while subscribers come and go.
const CHURN_LOOKS: u32 = 20;

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct RunSpec {
    pub(crate) plan: Plan,
    pub(crate) addresses: Addresses,
    /// How many times as often as in the plan publishers send once all have joined.
    pub(crate) load: f64,
    /// Joins per second; 0: as fast as they succeed.
    pub(crate) ramp: u32,
    /// Time between the last join and the first window.
    pub(crate) settle: Duration,
    pub(crate) window: Duration,
    /// Windows.
    pub(crate) repeat: u32,
    /// Subscribers that join during the first window.
    pub(crate) storm: u32,
    /// They receive nothing.
    pub(crate) storm_idle: bool,
    /// Decrypt one packet in this many.
    pub(crate) check: u64,
    pub(crate) stamped: bool,
    /// Device whose ingress drops media.
    pub(crate) sink: Option<String>,
    /// Core of the server, for its softirq thread.
    pub(crate) server_core: u32,
    pub(crate) quiet: bool,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) agreed: Option<Agreed>,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) joins: Joins,
    /// Joins of the storm, if there was one.
    pub(crate) storm: Option<Joins>,
    pub(crate) memory: Memory,
    pub(crate) windows: Vec<Window>,
}

/// Runs it.
pub(crate) fn run(spec: &RunSpec, target: &Target, door: Box<dyn Door>) -> Result<Outcome, String> {
    let mut session = Session::new(spec, target, door)?;
    let joins = session.fill()?;
    let (mut storm, mut windows) = (None, Vec::new());
    for number in 1..=spec.repeat {
        let what = format!("window {number} of {}", spec.repeat);
        windows.push(if number == 1 && !session.latecomers.is_empty() {
            let (window, joined) = session.window(&what, spec.window, &session.latecomers.clone())?;
            storm = joined;
            window
        } else {
            session.unspoiled_window(&what)?
        });
    }
    let (agreed, memory) = (session.agreed(), session.memory());
    session.close()?;
    Ok(Outcome {
        agreed,
        publishers: session.publishers.len(),
        subscribers: session.subscribers.len() + session.latecomers.len(),
        joins,
        storm,
        memory,
        windows,
    })
}

/// Fills the rooms, then lets subscribers come and go.
pub(crate) fn churn(
    spec: &RunSpec,
    joins: u32,
    target: &Target,
    door: Box<dyn Door>,
) -> Result<Churn, String> {
    let mut session = Session::new(spec, target, door)?;
    session.fill()?;
    let churn = session.churn(joins, (joins / CHURN_LOOKS).max(1))?;
    session.close()?;
    Ok(churn)
}
