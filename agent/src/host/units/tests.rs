//! Tools over a peer-to-peer bus.

use std::collections::BTreeSet;

use upgrade_core::api::{Check, KubeadmCommand, TurnId};
use upgrade_core::observed::{Copy, Finding, Outcome};

use super::*;
use crate::host::systemd::tests::{Fake, FakeUnit, Restart};
use crate::host::tests::{Machine, seen};

const UNIT: &str = "node-upgrade-agent-tool-v1.36.3-1-kubeadm-upgrade-0.service";
const OTHER: &str = "node-upgrade-agent-tool-v1.36.3-1-install-kubeadm-0.service";

fn kubeadm() -> Tool {
    Tool::Kubeadm { command: KubeadmCommand::NodeWorker, target: "v1.36.3".parse().unwrap() }
}

fn starts(fake: &Fake) -> usize {
    fake.calls().iter().filter(|call| call.starts_with("StartTransientUnit")).count()
}

#[tokio::test]
async fn a_tool_runs_in_a_unit_that_keeps_its_result_and_never_stops_kubeadm() {
    let fake = Fake::new(Restart::Hangs);
    fake.end_at_once(0);
    let machine = Machine::new();
    let ended = machine.host(&fake).run(UNIT, &kubeadm()).await;
    assert_eq!(ended.fault, None);
    assert_eq!(seen(&ended).tools[UNIT], ToolState::Ended(0));
    assert_eq!(fake.property::<String>("Type").unwrap(), "oneshot");
    assert!(fake.property::<bool>("RemainAfterExit").unwrap());
    assert_eq!(fake.property::<u64>("TimeoutStartUSec"), Some(u64::MAX));
    assert_eq!(fake.property::<i32>("KillSignal"), Some(nix::libc::SIGCONT));
    let environment = fake.property::<Vec<String>>("Environment").unwrap();
    assert!(environment.contains(&"NEEDRESTART_SUSPEND=1".to_owned()), "{environment:?}");
    let log = machine.settings.state.join("log").join(format!("{UNIT}.log"));
    assert_eq!(fake.property::<String>("StandardOutputFileToAppend").unwrap(), log.display().to_string());
    assert!(log.parent().unwrap().is_dir());
}

#[tokio::test]
async fn a_tool_that_failed_is_a_fact_and_no_fault() {
    let fake = Fake::new(Restart::Hangs);
    fake.end_at_once(100);
    let ended = Machine::new().host(&fake).run(UNIT, &kubeadm()).await;
    assert_eq!((seen(&ended).tools[UNIT], &ended.fault), (ToolState::Ended(100), &None));
}

#[tokio::test]
async fn a_unit_that_ended_is_not_started_again() {
    let fake = Fake::new(Restart::Hangs);
    fake.put(UNIT, FakeUnit { code: 1, status: 3, ..FakeUnit::new("failed") });
    let ended = Machine::new().host(&fake).run(UNIT, &kubeadm()).await;
    assert_eq!(seen(&ended).tools[UNIT], ToolState::Ended(3));
    assert_eq!(starts(&fake), 0);
}

#[tokio::test]
async fn a_unit_that_runs_is_adopted_and_its_end_awaited_also_when_the_bus_goes_away() {
    let fake = Fake::new(Restart::Hangs);
    fake.put(UNIT, FakeUnit::new("activating"));
    let host = Machine::new();
    let host = host.host(&fake);
    let act = tokio::spawn(async move { host.run(UNIT, &kubeadm()).await });
    fake.await_calls(|calls| calls.iter().any(|call| call == "Subscribe")).await;
    fake.cut().await;
    fake.end(UNIT, 0).await;
    let ended = act.await.unwrap();
    // The machine's directory is gone by now, so only the fault of looking at it may remain.
    assert!(ended.fault.is_none_or(|fault| fault.message.contains("dpkg")));
    assert_eq!(starts(&fake), 0);
}

#[tokio::test]
async fn a_tool_waits_for_another_that_still_runs() {
    let fake = Fake::new(Restart::Hangs);
    fake.put(OTHER, FakeUnit::new("activating"));
    fake.end_at_once(0);
    let machine = Machine::new();
    let host = machine.host(&fake);
    let act = tokio::spawn(async move { host.run(UNIT, &kubeadm()).await });
    // The second look is made by the act that waits; one that does not wait starts its tool instead.
    fake.await_calls(|calls| {
        calls.iter().filter(|call| *call == "ListUnitsByPatterns").count() > 1
            || calls.iter().any(|call| call.starts_with("StartTransientUnit"))
    })
    .await;
    assert_eq!(starts(&fake), 0);
    fake.end(OTHER, 0).await;
    let ended = act.await.unwrap();
    assert_eq!(seen(&ended).tools.len(), 2);
    assert_eq!(starts(&fake), 1);
}

#[tokio::test]
async fn tidying_forgets_what_ended_and_drops_copies_and_output() {
    let fake = Fake::new(Restart::Hangs);
    fake.put(OTHER, FakeUnit::new("active"));
    fake.put(UNIT, FakeUnit { code: 1, status: 3, ..FakeUnit::new("failed") });
    let machine = Machine::control_plane();
    let host = machine.host(&fake);
    let copy = Copy { turn: TurnId("v1.36.3-1".into()), run: 1 };
    assert_eq!(host.back_up(&copy).await.fault, None);
    fs::create_dir_all(machine.settings.logs()).unwrap();
    fs::write(machine.settings.log(UNIT), "said\n").unwrap();
    assert_eq!(host.tail(UNIT), "said");
    let ended = host.clean_up().await;
    assert_eq!(ended.fault, None);
    assert!(seen(&ended).tools.is_empty() && seen(&ended).copies.is_empty());
    assert_eq!(host.tail(UNIT), "");
    let calls = fake.calls();
    assert!(calls.contains(&format!("StopUnit {OTHER} fail")), "{calls:?}");
    assert!(calls.contains(&format!("ResetFailedUnit {UNIT}")), "{calls:?}");
}

#[tokio::test]
async fn a_unit_that_is_not_ours_is_neither_started_nor_read() {
    let fake = Fake::new(Restart::Hangs);
    let machine = Machine::new();
    let host = machine.host(&fake);
    for unit in ["kubelet.service", "node-upgrade-agent-tool-../x.service", "node-upgrade-agent-tool-x.timer"]
    {
        assert!(host.run(unit, &kubeadm()).await.fault.is_some(), "{unit}");
        assert_eq!(host.tail(unit), "");
    }
    assert_eq!(starts(&fake), 0);
}

#[tokio::test]
async fn what_needs_dpkg_waits_until_nobody_else_holds_its_lock() {
    use std::io::BufRead;
    let fake = Fake::new(Restart::Hangs);
    fake.end_at_once(0);
    let machine = Machine::new();
    let mut holder = lock_in_another_process(&machine.path("/var/lib/dpkg/lock"));
    let mut line = String::new();
    std::io::BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "locked\n");
    let host = machine.host(&fake);
    let told = dpkg::lock_holder(&machine.settings).unwrap().unwrap().to_string();
    assert!(told.starts_with(&format!("process {} (python3", holder.id())), "{told}");
    fs::create_dir_all(machine.path("/sys/fs/cgroup")).unwrap();
    let found = host.preflight("1.36.3".parse().unwrap(), KubeadmCommand::NodeWorker).await.unwrap();
    for check in [Check::Dpkg, Check::Packages] {
        let found: Vec<_> = found.findings.iter().filter(|finding| finding.check == check).collect();
        let [Finding { outcome: Outcome::Pending(text), .. }] = found[..] else {
            panic!("{check}: {found:?}")
        };
        assert!(text.contains(&told), "{text}");
    }
    machine
        .write("/var/lib/dpkg/updates/0001", "Package: hello\nStatus: install ok unpacked\nVersion: 1\n\n");
    assert!(!dpkg::read(&machine.settings).unwrap().interrupted, "somebody is at work on it");
    let tool = Tool::Hold { packages: BTreeSet::from(["kubelet".to_owned()]) };
    let gave_up = host.run_to_end(UNIT, &tool, Duration::ZERO).await.unwrap_err().to_string();
    assert!(gave_up.contains(&format!("process {}", holder.id())), "{gave_up}");
    assert_eq!(starts(&fake), 0);
    let act = tokio::spawn(async move { host.run(UNIT, &tool).await });
    holder.kill().unwrap();
    holder.wait().unwrap();
    let ended = act.await.unwrap();
    assert_eq!(ended.fault, None);
    assert!(seen(&ended).dpkg_interrupted, "nobody is at work on it any more");
    assert_eq!(starts(&fake), 1);
}

/// POSIX locks do not conflict within one process.
fn lock_in_another_process(lock: &Path) -> std::process::Child {
    let script = "import fcntl,sys,time\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\n\
                  print('locked',flush=True)\ntime.sleep(600)";
    std::process::Command::new("python3")
        .args(["-c", script])
        .arg(lock)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_units_name_tells_its_turn() {
    let turn = TurnId("v1.36.3-68e1".to_owned());
    for tool in [kubeadm(), Tool::RepairDpkg, Tool::Hold { packages: BTreeSet::new() }] {
        assert_eq!(turn_of(&tool.unit(&turn, 12)), Some(turn.clone()));
    }
    for other in ["kubelet.service", UNIT, "node-upgrade-agent-tool-../x-1-hold.service", ""] {
        assert_eq!(turn_of(other), None, "{other}");
    }
}
