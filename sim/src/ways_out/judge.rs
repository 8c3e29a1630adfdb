//! One cell, played and judged.

use super::words::MINUTE;
use super::{Cell, Stand, State, Way};
use crate::world::World;

/// Within this time a state comes about.
const ARISES: u64 = 60 * MINUTE;
/// How often it is looked whether it has.
const LOOK: u64 = 1_000;
/// How long all is left alone before people do something.
const QUIET: u64 = 2 * MINUTE;
/// How long it is watched that nothing comes of it, before the run is let out.
const UNMOVED: u64 = 10 * MINUTE;

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// What is wanted of it.
    Right,
    /// It cannot be.
    CannotBe,
    /// Something else.
    Wrong(String),
}

/// Plays one way out of a state.
pub fn judge(state: &State, way: Way) -> Judged {
    let index = Way::ALL.iter().position(|other| *other == way).unwrap_or_default();
    match &state.cells[index] {
        Cell::CannotBe(_) => Judged::CannotBe,
        wants => plays(state, way, wants).map_or_else(Judged::Wrong, |()| Judged::Right),
    }
}

/// Prints what happens; where the state does not come about, how that goes.
pub fn print(state: &State, way: Way) {
    let (mut world, faults) = match reached(state) {
        Ok(world) => (world, state.faults(way)),
        Err(lack) => {
            println!("=== {}: {lack}", state.name);
            (World::new(&state.setup, &state.schedule), Vec::new())
        }
    };
    println!("=== {}, {}: people act after {} ms: {faults:?}", state.name, way.word(), world.until());
    world.strike(&faults);
    world.runs_out();
    world.history.iter().for_each(|event| println!("{event}"));
    println!("{}{:#?}", world.verdict(), world.stands(state.node));
}

fn plays(state: &State, way: Way, wants: &Cell) -> Result<(), String> {
    let mut world = reached(state)?;
    let faults = state.faults(way);
    if faults.is_empty() {
        return Err("nobody does anything".to_owned());
    }
    let before = world.stands(state.node).journal;
    world.strike(&faults);
    comes(state, wants, &mut world, &before)
}

/// The world in which the node stands like this, and has for a while.
fn reached(state: &State) -> Result<World, String> {
    let mut world = World::new(&state.setup, &state.schedule);
    let late = |lack| format!("the state does not come about: {lack}");
    come_to(&mut world, state, state.is, ARISES).map_err(late)?;
    world.runs_until(world.until() + QUIET);
    match state.is.lacks(&world, state.node) {
        Some(lack) => Err(format!("the state does not last: {lack}")),
        None if world.unstruck().is_empty() => Ok(world),
        None => Err(format!("nobody came to {:?}", world.unstruck())),
    }
}

fn come_to(world: &mut World, state: &State, stand: Stand, within: u64) -> Result<(), String> {
    let until = world.until() + within;
    while let Some(lack) = stand.lacks(world, state.node) {
        if world.until() >= until {
            return Err(lack);
        }
        world.runs_until(world.until() + LOOK);
    }
    Ok(())
}

/// The journal says that the agent has taken it up.
fn takes_up(world: &mut World, state: &State, before: &str) -> Result<(), String> {
    let until = world.until() + UNMOVED;
    while world.stands(state.node).journal == before {
        if world.until() >= until {
            return Err("nothing comes of it".to_owned());
        }
        world.runs_until(world.until() + LOOK);
    }
    Ok(())
}

fn comes(state: &State, wants: &Cell, world: &mut World, before: &str) -> Result<(), String> {
    let stand = match wants {
        Cell::Comes(stand, minutes) => {
            let late = |lack| format!("{stand} after {minutes} min: {lack}");
            come_to(world, state, *stand, minutes * MINUTE).map_err(late)?;
            *stand
        }
        Cell::Again(minutes) => {
            takes_up(world, state, before)?;
            let late = |lack| format!("the same again after {minutes} min: {lack}");
            come_to(world, state, state.is, minutes * MINUTE).map_err(late)?;
            state.is
        }
        Cell::Stays => {
            world.runs_until(world.until() + UNMOVED);
            let same = world.stands(state.node).journal == before;
            let lack = state.is.lacks(world, state.node);
            lack.map_or(Ok(()), |lack| Err(format!("it does not stay: {lack}")))?;
            same.then_some(()).ok_or("it stays, but its journal has changed")?;
            state.is
        }
        Cell::CannotBe(_) => return Err("nothing is wanted".to_owned()),
    };
    ends(state, stand, world)
}

/// To its end the node stands so, no rule is broken, and nobody else is left behind.
fn ends(state: &State, stand: Stand, world: &mut World) -> Result<(), String> {
    world.runs_out();
    if let Some(lack) = stand.lacks(world, state.node) {
        return Err(format!("{stand}, but not to the end: {lack}"));
    }
    let verdict = world.verdict();
    let broken: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
    // Of the node itself it is said what is wanted, and who is at fault may stay so.
    let named = |who: &&String| who.starts_with(state.node) || who.starts_with(state.at_fault);
    let others = verdict.unfinished.iter().filter(|who| !named(who)).cloned();
    let wrong: Vec<String> = broken.into_iter().chain(others).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
