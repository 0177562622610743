//! One server under rising load: where it stops keeping up, what it is like at half of that, what it does beyond, and how soon it
//! is well again.
//!
//! All of it is one run, so that nothing but the rate differs. Load is a factor on how often publishers send; frames stay
//! as they are.

use crate::args::SweepArgs;
use crate::channel::Channel;
use crate::plot;
use crate::report;
use crate::run::{Run, Window};
use crate::server::Server;
use serde_json::{Value, json};
use std::time::Duration;

/// Each step of the climb is this much higher than the one before.
const CLIMB: f64 = 1.5;
/// How often the gap between the last load that was borne and the first that was not is halved.
const NARROW: u32 = 3;
/// Beyond the most it bears.
const OVERLOADS: [f64; 3] = [1.25, 1.5, 2.0];
/// Between a change of load and its window.
const SETTLE: Duration = Duration::from_millis(500);
/// After an overload, at half of the most: whatever was withheld is back.
const RECOVER: Duration = Duration::from_secs(4);
/// Windows right after the overload, short ones, to see how soon it is well again.
const RECOVERY_WINDOWS: u32 = 6;
const RECOVERY_WINDOW: Duration = Duration::from_millis(500);
/// A server that delivers all but this share, in percent, keeps up: around a window's ends packets are under way.
const MISSING_PERCENT_MAX: f64 = 0.5;
/// Counters of the relay, none of which moves while it keeps up.
const NOT_KEPT_UP: [&str; 3] = ["drop.overload", "io.rx_kernel_drops", "drop.outbox_full"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Climb,
    Half,
    Overload,
    Recovery,
}

impl Purpose {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// One load and what came of it.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) purpose: Purpose,
    /// Factor on the scenario's rate.
    load: f64,
    pub(crate) window: Window,
}

impl Point {
    pub(crate) fn offered_per_second(&self) -> f64 {
        self.window.per_second(self.window.counts.offered)
    }

    pub(crate) fn forwarded_per_second(&self) -> f64 {
        self.window.per_second(self.window.forwarded())
    }

    /// Withheld by the relay because it did not keep up.
    pub(crate) fn shed_per_second(&self) -> f64 {
        self.window.per_second(self.window.server.get("drop.overload").copied().unwrap_or(0))
    }

    fn kept_up(&self) -> bool {
        let missing = 100.0 * (1.0 - self.forwarded_per_second() / self.offered_per_second());
        let dropped = NOT_KEPT_UP.iter().any(|name| self.window.server.contains_key(*name));
        missing < MISSING_PERCENT_MAX && !dropped
    }

    fn json(&self) -> Value {
        json!({
            "purpose": self.purpose.name(),
            "load": self.load,
            "offered_per_second": self.offered_per_second(),
            "forwarded_per_second": self.forwarded_per_second(),
            "shed_per_second": self.shed_per_second(),
            "kept_up": self.kept_up(),
            "server_cores": self.window.cores(),
            "window": report::window(&self.window),
        })
    }
}

pub(crate) struct Sweep {
    pub(crate) points: Vec<Point>,
    /// The highest load that was borne.
    pub(crate) most: Point,
    /// Whether a load was found that was not: otherwise the most is only the end of the search.
    saturated: bool,
}

/// Runs it, and draws it if that is wanted.
pub(crate) fn run(args: &SweepArgs, server: &Server, channel: Box<dyn Channel>) -> Result<Value, String> {
    let mut run = Run::new(&args.run, server, channel)?;
    run.fill()?;
    let sweep = measure(args, &mut run)?;
    run.close()?;
    if let Some(path) = &args.plot {
        plot::draw(path, &sweep)?;
    }
    let half = sweep.points.iter().filter(|point| point.purpose == Purpose::Half);
    let half: Vec<Window> = half.map(|point| point.window.clone()).collect();
    Ok(json!({
        "most": sweep.most.json(),
        "saturated": sweep.saturated,
        "half": report::summary(&half),
        "points": sweep.points.iter().map(Point::json).collect::<Vec<_>>(),
    }))
}

fn measure(args: &SweepArgs, run: &mut Run<'_>) -> Result<Sweep, String> {
    let mut points = Vec::new();
    let (mut borne, mut not_borne): (Option<Point>, Option<f64>) = (None, None);
    let mut load = args.run.load;
    while not_borne.is_none() && load <= args.to {
        let point = at_load(args, run, Purpose::Climb, load)?;
        points.push(point.clone());
        if point.kept_up() {
            borne = Some(point);
        } else {
            not_borne = Some(load);
        }
        load *= CLIMB;
    }
    let mut most = borne.ok_or("the lowest load is too much already; begin lower, with --load")?;
    for _ in 0..NARROW {
        let Some(too_much) = not_borne else { break };
        rest(run, &most)?;
        let point = at_load(args, run, Purpose::Climb, (most.load * too_much).sqrt())?;
        points.push(point.clone());
        if point.kept_up() {
            most = point;
        } else {
            not_borne = Some(point.load);
        }
    }
    rest(run, &most)?;
    for _ in 0..args.run.repeat {
        points.push(at_load(args, run, Purpose::Half, most.load / 2.0)?);
    }
    for factor in OVERLOADS {
        points.push(at_load(args, run, Purpose::Overload, most.load * factor)?);
    }
    run.engine.set_load(most.load / 2.0);
    for number in 1..=RECOVERY_WINDOWS {
        let (window, _) = run.window(&format!("recovery {number}"), RECOVERY_WINDOW, &[])?;
        points.push(Point { purpose: Purpose::Recovery, load: most.load / 2.0, window });
    }
    Ok(Sweep { points, most, saturated: not_borne.is_some() })
}

/// Lets the server recover from what was too much for it.
fn rest(run: &mut Run<'_>, most: &Point) -> Result<(), String> {
    run.engine.set_load(most.load / 2.0);
    run.engine.run_for(RECOVER)
}

fn at_load(args: &SweepArgs, run: &mut Run<'_>, purpose: Purpose, load: f64) -> Result<Point, String> {
    run.engine.set_load(load);
    run.engine.run_for(SETTLE)?;
    let what = format!("{} at {load:.2}", purpose.name());
    let window = if purpose == Purpose::Half {
        // Latencies are what it is for.
        run.unspoiled_window(&what)?
    } else {
        run.window(&what, args.run.window, &[])?.0
    };
    Ok(Point { purpose, load, window })
}
