//! The one loop: inputs to the rules, outputs to the world.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use upgrade_core::act::{Act, ActResult, Fault, FaultClass};
use upgrade_core::agent::{ActId, Agent, Input, Output};
use upgrade_core::memory::Memory;
use upgrade_core::observed::Observation;
use upgrade_core::time::Mono;

use crate::adapters::Adapters;
use crate::chain::chain;
use crate::enrol::{self, Enroller};
use crate::journal::Journal;
use crate::notify;
use crate::reporter::Reporter;

/// How often a holder renews its Lease, for people to see that it lives.
const HEARTBEAT: Duration = Duration::from_mins(1);

/// The runtime's timers stand still while the host is suspended, and the rules' clock does not: so late a moment is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Why the daemon ends.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The process cannot listen for SIGTERM.
    #[error("listen for SIGTERM")]
    Signal(#[from] std::io::Error),
}

/// The daemon's loop and what it needs.
pub struct Drive {
    agent: Agent,
    adapters: Adapters,
    journal: Journal,
    reporter: Reporter,
    inputs: UnboundedReceiver<Input>,
    sender: UnboundedSender<Input>,
    running: Option<(ActId, JoinHandle<()>)>,
    heartbeat: Option<JoinHandle<()>>,
    /// The watch on what agents share, while it is wanted.
    fleet: Option<JoinHandle<()>>,
    wake: Mono,
}

impl Drive {
    /// Ready to run; nothing is done yet.
    pub fn new(agent: Agent, adapters: Adapters, journal: Journal) -> Self {
        let (sender, inputs) = unbounded_channel();
        let reporter = Reporter::start(adapters.cluster.clone());
        if agent.memory().policy_seen {
            adapters.cluster.remember_policy();
        }
        Self {
            agent,
            adapters,
            journal,
            reporter,
            inputs,
            sender,
            running: None,
            heartbeat: None,
            fleet: None,
            wake: Mono(u64::MAX),
        }
    }

    /// Runs until SIGTERM. Tools that run in their own units go on; the next life of the agent adopts them.
    ///
    /// # Errors
    /// When it cannot listen for signals.
    pub async fn run(mut self) -> Result<(), DriveError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut alive = interval(notify::watchdog_pace());
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let retry = watch::Sender::new(None);
        // Before the watch: what it knows of the credential is known before anything is decided.
        let enrolment = self.enrol(&retry);
        let watch = self.watch_node(retry);
        self.take(Input::Tick);
        notify::ready();
        loop {
            tokio::select! {
                Some(input) = self.inputs.recv() => self.take(input),
                () = sleep(self.adapters.clock.until(self.wake).min(LONGEST_SLEEP)), if self.wake < Mono(u64::MAX) => {
                    if self.adapters.clock.until(self.wake).is_zero() {
                        self.wake = Mono(u64::MAX);
                        self.take(Input::Tick);
                    }
                }
                _ = beat.tick() => self.beat(),
                _ = alive.tick() => notify::alive(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tracing::info!("stopping; tools that run go on in their own units");
        notify::stopping();
        watch.abort();
        self.watch_fleet(false);
        if let Some(enrolment) = enrolment {
            enrolment.abort();
        }
        Ok(())
    }

    fn watch_node(&self, retry: watch::Sender<enrol::Retry>) -> JoinHandle<()> {
        let (cluster, tell) = (self.adapters.cluster.clone(), self.tell());
        let tell = move |fact| {
            if let Observation::Node(Some(node)) = &fact {
                let now = Some(node.request.retry.clone());
                retry.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
            }
            tell(fact);
        };
        tokio::spawn(async move { cluster.watch_node(tell).await })
    }

    /// Keeps the coordination credential, beside everything else.
    fn enrol(&self, retry: &watch::Sender<enrol::Retry>) -> Option<JoinHandle<()>> {
        let state = self.adapters.enrols.as_deref()?;
        let Adapters { cluster, clock, .. } = self.adapters.clone();
        let enroller = Enroller::new(state, cluster, clock, retry.subscribe(), self.tell());
        Some(tokio::spawn(enroller.run()))
    }

    fn tell(&self) -> impl Fn(Observation) + Send + Sync + use<> {
        let sender = self.sender.clone();
        // The receiver lives as long as the loop; after it nobody wants to know.
        move |fact| drop(sender.send(Input::Observed(fact)))
    }

    /// Feeds one input in and carries out what follows.
    fn take(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.agent.on(self.adapters.clock.now(), input) {
                match output {
                    Output::Store(memory) => inputs.push_back(self.store(&memory)),
                    Output::Start(id, act) => self.start(id, act),
                    Output::Stop(id) => inputs.extend(self.stop(id)),
                    Output::Watch(wanted) => self.watch_fleet(wanted),
                    Output::Report(report) => self.reporter.tell(*report),
                    Output::WakeAt(moment) => self.wake = moment,
                }
            }
        }
    }

    fn store(&self, memory: &Memory) -> Input {
        match self.journal.store(memory) {
            Ok(()) => Input::Stored,
            Err(error) => {
                let why = chain(&error);
                tracing::error!("write the journal: {why}");
                Input::NotStored(why)
            }
        }
    }

    /// Opens or closes the watch on what agents share, beside the acts.
    fn watch_fleet(&mut self, wanted: bool) {
        if let Some(watch) = self.fleet.take() {
            watch.abort();
        }
        if wanted {
            let (cluster, tell) = (self.adapters.cluster.clone(), self.tell());
            self.fleet = Some(tokio::spawn(async move { cluster.watch_fleet(tell).await }));
        }
    }

    fn start(&mut self, id: ActId, act: Act) {
        tracing::debug!(act = act.word(), id = id.0, "start");
        let (adapters, sender, tell) = (self.adapters.clone(), self.sender.clone(), self.tell());
        let task = tokio::spawn(async move {
            let name = act.word();
            let ended = adapters.carry_out(act, tell).await;
            if let Some(fault) = &ended.fault {
                tracing::warn!(act = name, "{}", fault.message);
            }
            drop(sender.send(Input::Ended(id, ended)));
        });
        self.running = Some((id, task));
    }

    /// Stops the act that runs. Its own end may be on its way already; the rules ignore the second one.
    fn stop(&mut self, id: ActId) -> Option<Input> {
        let (_, task) = self.running.take_if(|(running, _)| *running == id)?;
        task.abort();
        let fault = Fault { class: FaultClass::Stopped, message: "stopped".to_owned() };
        Some(Input::Ended(id, ActResult::failed(fault)))
    }

    /// Renews the Lease beside whatever goes on; one renewal at a time.
    fn beat(&mut self) {
        let busy = self.heartbeat.as_ref().is_some_and(|task| !task.is_finished());
        let Some(renewal) = self.agent.heartbeat().filter(|_| !busy) else { return };
        let (adapters, tell) = (self.adapters.clone(), self.tell());
        self.heartbeat = Some(tokio::spawn(async move {
            let ended = adapters.carry_out(renewal, |_| {}).await;
            ended.observations.into_iter().for_each(tell);
        }));
    }
}
