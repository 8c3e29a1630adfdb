//! What happened in a running lab, and what the oracle says of it: `cargo run --package upgrade-history --example judge [NAME]`.

use anyhow::Result;
use lab::Cluster;
use upgrade_core::oracle::{ends, examine};
use upgrade_history::{expectations, of_cluster};

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "lab".to_owned());
    let events = of_cluster(&Cluster::open(&name)?)?.events;
    for event in &events {
        println!("{event}");
    }
    let until = events.last().map_or(0, |event| event.at);
    println!("{}", examine(&events, until, &expectations()));
    for (node, end) in ends(&events) {
        println!("{node} ended: {end:?}");
    }
    Ok(())
}
