use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::*;
use crate::host::tests::Machine;

#[test]
fn a_configuration_is_stale_when_it_is_older_than_the_kubeadm_that_is_installed() {
    let machine = Machine::new();
    let stale = || look(&machine.settings).unwrap().config_is_stale;
    assert!(!stale(), "without kubeadm nobody can say");
    machine.write("/usr/bin/kubeadm", "");
    let program = File::options().write(true).open(machine.path("/usr/bin/kubeadm")).unwrap();
    program.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let config = File::options().write(true).open(machine.path("/var/lib/kubelet/config.yaml")).unwrap();
    config.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    assert!(stale(), "the time at which kubeadm was built does not count");
    config.set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
    assert!(!stale());
    fs::remove_file(machine.path("/var/lib/kubelet/config.yaml")).unwrap();
    assert!(!stale());
}

#[test]
fn what_wants_to_be_registered_is_told_by_name() {
    let machine = Machine::new();
    assert!(look(&machine.settings).unwrap().plugin_sockets.is_empty());
    machine.write("/var/lib/kubelet/plugins_registry/driver.example-reg.sock", "");
    let sockets = BTreeSet::from(["driver.example-reg.sock".to_owned()]);
    assert_eq!(look(&machine.settings).unwrap().plugin_sockets, sockets);
}

fn kubeconfig(server: &str) -> String {
    format!(
        "current-context: mine\n\
         contexts: [{{name: other, context: {{cluster: other, user: u}}}}, {{name: mine, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: other, cluster: {{server: 'https://10.0.0.1:7443'}}}}, {{name: c, cluster: {{server: '{server}'}}}}]\n"
    )
}

#[test]
fn an_own_api_server_is_told_from_a_shared_endpoint() {
    let machine = Machine::new();
    let own = || look(&machine.settings).unwrap().own_server;
    machine.write("/etc/kubernetes/kubelet.conf", &kubeconfig("https://10.0.0.1:7443"));
    assert!(!own(), "a worker has none");
    let manifest = "spec: {containers: [{name: kube-apiserver, command: \
                    [kube-apiserver, --advertise-address=10.0.0.1, --secure-port=7443]}]}\n";
    machine.write("/etc/kubernetes/manifests/kube-apiserver.yaml", manifest);
    assert!(own());
    machine.write("/etc/kubernetes/kubelet.conf", &kubeconfig("https://127.0.0.1:7443"));
    assert!(own());
    machine.write("/etc/kubernetes/kubelet.conf", &kubeconfig("https://endpoint.example:7443"));
    assert!(!own());
    for broken in ["", "{", "current-context: gone\n"] {
        machine.write("/etc/kubernetes/kubelet.conf", broken);
        assert!(!own(), "{broken:?}");
    }
    machine.write("/etc/kubernetes/manifests/kube-apiserver.yaml", "{");
    assert!(!own(), "and the look is made all the same");
}

#[test]
fn the_container_runtimes_socket_is_that_of_a_flag_or_else_of_the_configuration() {
    let machine = Machine::new();
    let socket = || look(&machine.settings).unwrap().cri_socket;
    assert_eq!(socket(), None);
    machine.write("/var/lib/kubelet/config.yaml", "containerRuntimeEndpoint: ''\n");
    assert_eq!(socket(), None);
    machine.write("/var/lib/kubelet/config.yaml", "containerRuntimeEndpoint: unix:///run/a.sock\n");
    assert_eq!(socket().as_deref(), Some("unix:///run/a.sock"));
    let flags = "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///run/b.sock --v=2\"\n";
    machine.write("/var/lib/kubelet/kubeadm-flags.env", flags);
    assert_eq!(socket().as_deref(), Some("unix:///run/b.sock"));
    machine.write(
        "/etc/default/kubelet",
        "KUBELET_EXTRA_ARGS=--container-runtime-endpoint unix:///run/c.sock\n",
    );
    assert_eq!(socket().as_deref(), Some("unix:///run/c.sock"));
    assert!(!look(&machine.settings).unwrap().instance_config);
    machine.write("/var/lib/kubelet/instance-config.yaml", "");
    assert!(look(&machine.settings).unwrap().instance_config);
}
