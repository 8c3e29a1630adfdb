//! Writes the man pages and the completions of bash, zsh and fish, all made from the command line's own definition.
//!
//! A program of the build: the shipped one needs neither the code nor its size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory, Parser};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use node_upgrade_agent::cli::Cli;

const PROGRAM: &str = "node-upgrade-agent";
/// Commands for administrators.
const SECTION: &str = "8";
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Write man pages and completions into a directory.
#[derive(Parser)]
struct Arguments {
    directory: PathBuf,
}

fn main() -> Result<()> {
    write(&Arguments::parse().directory)
}

fn write(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for shell in SHELLS {
        generate_to(shell, &mut Cli::command(), PROGRAM, directory)
            .with_context(|| format!("cannot write the completions of {shell}"))?;
    }
    // `help` would get a page of its own, and one for each command it knows.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    page(&command, PROGRAM, directory)?;
    command
        .get_subcommands()
        .try_for_each(|sub| page(sub, &format!("{PROGRAM}-{}", sub.get_name()), directory))
}

fn page(command: &Command, name: &str, directory: &Path) -> Result<()> {
    let path = directory.join(format!("{name}.{SECTION}"));
    let source = Cli::command().render_version();
    let man = Man::new(command.clone()).title(name).section(SECTION).source(source.trim());
    let mut text = Vec::new();
    man.render(&mut text).with_context(|| format!("cannot make the page {name}"))?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            // In roff a hyphen is escaped.
            assert!(read("node-upgrade-agent.8").contains(&format!("node\\-upgrade\\-agent\\-{name}(8)")));
            assert!(read(&format!("node-upgrade-agent-{name}.8")).contains(".SH SYNOPSIS"));
            for completions in ["node-upgrade-agent.bash", "_node-upgrade-agent", "node-upgrade-agent.fish"] {
                assert!(read(completions).contains(name), "{completions} does not know {name}");
            }
        }
    }
}
