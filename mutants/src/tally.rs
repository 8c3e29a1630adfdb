//! What a run comes to: the survivors with what they change, and the counting line.

use std::fmt;

use crate::mutant::Mutant;
use crate::progress::Outcome;
use crate::survivors::Survivors;

/// The figures of a run.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    killed: usize,
    listed: usize,
    survived: Vec<&'a Mutant>,
    seed: Option<u64>,
}

impl<'a> Tally<'a> {
    /// Counts what was judged.
    pub(crate) fn new(judged: &[(&'a Mutant, Option<Outcome>)], list: &Survivors, seed: Option<u64>) -> Self {
        let mut tally = Self { killed: 0, listed: 0, survived: Vec::new(), seed };
        for (mutant, outcome) in judged {
            match outcome {
                Some(Outcome::Survived) if list.lists(&mutant.id) => tally.listed += 1,
                Some(Outcome::Survived) => tally.survived.push(mutant),
                Some(Outcome::Unviable) | None => {}
                Some(_) => tally.killed += 1,
            }
        }
        tally
    }

    /// Those that nobody has given a reason for.
    pub(crate) fn survived(&self) -> &[&'a Mutant] {
        &self.survived
    }
}

impl fmt::Display for Tally<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (killed, listed, survived) = (self.killed, self.listed, self.survived.len());
        let all = killed + listed + survived;
        write!(f, "mutants: {killed} killed, {listed} listed, {survived} survived of {all}")?;
        self.seed.map_or(Ok(()), |seed| write!(f, " (seed {seed})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let all = ["units", "hung", "listed", "lives"].map(Mutant::called);
        let outcomes = [Outcome::KilledByUnits, Outcome::HungInSeeds, Outcome::Survived, Outcome::Survived];
        let judged: Vec<_> = all.iter().zip(outcomes.map(Some)).collect();
        let list = toml::from_str("[[survivor]]\nmutant = 'listed'\nreason = 'equal'").unwrap();
        let tally = Tally::new(&judged, &list, Some(7));
        assert_eq!(tally.to_string(), "mutants: 2 killed, 1 listed, 1 survived of 4 (seed 7)");
        assert_eq!(tally.survived(), [&all[3]]);
        let full = Tally::new(&judged, &list, None);
        assert_eq!(full.to_string(), "mutants: 2 killed, 1 listed, 1 survived of 4");
    }
}
