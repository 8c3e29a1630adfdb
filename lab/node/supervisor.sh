# Runs one node: supervisor.sh STATE_DIR CGROUP_DIR... -- SYSTEMD_NSPAWN_ARGV...
# Lives in the node's own cgroup, so that killing the cgroup is a power cut that leaves nothing behind.
set -u
state=$1
shift
cgroups=
while [ "$1" != -- ]; do
    cgroups="$cgroups $1"
    shift
done
shift

while :; do
    # systemd-nspawn splits its cgroup in two when it starts, so each start needs the undivided one again.
    for cgroup in $cgroups; do echo $$ >"$cgroup/cgroup.procs" || exit 1; done
    "$@" </dev/null >>"$state/console.log" 2>&1 &
    echo $! >"$state/nspawn.pid.new"
    mv "$state/nspawn.pid.new" "$state/nspawn.pid"
    wait $!
    status=$?
    rm -f "$state/nspawn.pid"
    echo "$status" >>"$state/exits"
    # 133 is how systemd-nspawn says that the guest asked for a reboot.
    [ "$status" = 133 ] || exit 0
done
