//! One run: publishers join, then subscribers, then windows are measured.

use crate::args::RunArgs;
use crate::door::Door;
use crate::session::{Churn, Joins, Memory, Session, Window};
use crate::target::Target;
use ringvox_client::Agreed;

/// How often memory is read while subscribers come and go.
const CHURN_LOOKS: u32 = 20;

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
pub(crate) fn run(spec: &RunArgs, target: &Target, door: Box<dyn Door>) -> Result<Outcome, String> {
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
    spec: &RunArgs,
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
