//! The command line. The only place that exits, and that prints whole chains of causes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use node_upgrade_agent::adapters::{self, Adapters};
use node_upgrade_agent::approve::{self, Wanted};
use node_upgrade_agent::cli::{Cli, Command};
use node_upgrade_agent::cluster::Administrator;
use node_upgrade_agent::config::Settings;
use node_upgrade_agent::drive::Drive;
use node_upgrade_agent::journal::{Journal, Recovered};
use node_upgrade_agent::{log, preflight, show, unjoined};
use upgrade_core::act::Fault;
use upgrade_core::agent::Agent;
use upgrade_core::api::Version;
use upgrade_core::judge::next_turn::NextTurn;
use upgrade_core::memory::Memory;

/// What `status --local` exits with while an upgrade is under way.
const UNDER_WAY: u8 = 3;

/// The journal's own directory below the state directory: private, while apt's user must reach the downloads.
const JOURNAL: &str = "journal";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("start the runtime").and_then(|runtime| runtime.block_on(run(cli)));
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("node-upgrade-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let settings = || Settings::load(cli.config.as_deref());
    match cli.command {
        Command::Run => daemon(settings()?).await,
        Command::Plan { target } => plan(&settings()?, target).await,
        Command::Status { local: true, .. } => local_status(&settings()?),
        Command::Status { json, local: false } => status(&settings()?, json).await,
        Command::Approve { names, all, kubeconfig } => {
            let wanted = match (all, names.is_empty()) {
                (true, _) => Wanted::All,
                (false, true) => Wanted::List,
                (false, false) => Wanted::These(names),
            };
            approve(kubeconfig.as_deref(), &wanted).await
        }
    }
}

async fn daemon(settings: Settings) -> anyhow::Result<ExitCode> {
    log::init(settings.log)?;
    if unjoined::wait_for(&settings.cluster.kubeconfig).await {
        return Ok(ExitCode::SUCCESS);
    }
    let (journal, recovered) =
        Journal::open(&settings.state_directory.join(JOURNAL)).context("open the journal")?;
    let memory = match recovered {
        Recovered::Fresh => Memory::default(),
        Recovered::Memory(memory) => memory,
        Recovered::Lost { why, kept, held } => {
            let kept = kept.display();
            tracing::warn!(
                %kept,
                "the journal is not read: {why}; what an upgrade under way has left on the Node, its Lease and this host is taken up; \
                 which packages were held may be lost with it: see apt-mark showhold"
            );
            Memory { held, ..Memory::default() }
        }
    };
    tracing::info!(node = settings.node, version = env!("CARGO_PKG_VERSION"), "starting");
    let agent = Agent::new(adapters::rules(&settings), memory);
    Drive::new(agent, Adapters::new(&settings)?, journal).run().await?;
    Ok(ExitCode::SUCCESS)
}

async fn plan(settings: &Settings, target: Option<Version>) -> anyhow::Result<ExitCode> {
    let adapters = Adapters::for_plan(settings)?;
    let Some(node) = adapters.cluster.read_node().await.map_err(|fault| anyhow::anyhow!(fault.message))?
    else {
        bail!("the Node {} does not exist; set name in [node] of the configuration", settings.node);
    };
    let request = &node.request;
    let wanted = match (target, &request.target) {
        (Some(target), _) => target,
        (None, Some(Ok(target))) => *target,
        (None, Some(Err(error))) => bail!("the annotation node-upgrade-agent/target: {error}"),
        (None, None) => {
            bail!("the Node {} has no target; name one: node-upgrade-agent plan v1.36.3", settings.node)
        }
    };
    let told = |fault: Fault| anyhow::anyhow!(fault.message);
    let (text, goes) = match preflight::next(&adapters, &node, wanted).await.map_err(told)? {
        NextTurn::Turn(kind) => {
            let findings = preflight::run(&adapters, wanted, kind).await.map_err(told)?;
            show::plan(&node, &findings, &request.skip)
        }
        other => show::no_turn(&node, wanted, &other),
    };
    print(&text);
    Ok(if goes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn status(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let adapters = Adapters::new(settings)?;
    let node = match adapters.cluster.read_node().await {
        Ok(Some(node)) => node,
        Ok(None) => {
            bail!("the Node {} does not exist; set name in [node] of the configuration", settings.node)
        }
        Err(fault) => return Err(unanswered(settings, &fault)),
    };
    print(&show::status(&node, adapters.clock.now().unix, json));
    Ok(ExitCode::SUCCESS)
}

/// Where nothing answers, this host's journal still knows what is at work here.
fn unanswered(settings: &Settings, fault: &Fault) -> anyhow::Error {
    let known = Journal::look(&settings.state_directory.join(JOURNAL));
    let told = known.map_or_else(
        |error| format!("{:#}", anyhow::Error::from(error)),
        |memory| show::local(memory.and_then(|memory| memory.turn).as_ref()),
    );
    anyhow::anyhow!("{}\nby the journal of this host: {}", fault.message, told.trim_end())
}

fn local_status(settings: &Settings) -> anyhow::Result<ExitCode> {
    let memory = Journal::look(&settings.state_directory.join(JOURNAL)).context("read the journal")?;
    let turn = memory.and_then(|memory| memory.turn);
    print(&show::local(turn.as_ref()));
    Ok(if turn.is_some() { ExitCode::from(UNDER_WAY) } else { ExitCode::SUCCESS })
}

async fn approve(kubeconfig: Option<&Path>, wanted: &Wanted) -> anyhow::Result<ExitCode> {
    let administrator = Administrator::connect(kubeconfig).await?;
    let (text, well) = approve::carry_out(&administrator, wanted).await?;
    print(&text);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// To standard output; a reader that went away is no error of ours.
fn print(text: &str) {
    use std::io::Write;
    drop(std::io::stdout().write_all(text.as_bytes()));
}
