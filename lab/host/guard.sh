# Runs one program of the host's control plane: guard.sh LOG REMOVE ARGV...
# Its input is a pipe that nobody writes to. When the owner closes it or dies, however it dies, the program ends too,
# and the directory REMOVE, if not empty, goes with it.
log=$1 remove=$2
shift 2
"$@" </dev/null >"$log" 2>&1 &
program=$!
read -r _
# Nothing of it is kept, and an API server would take seconds to say goodbye to an etcd that is gone.
kill -KILL "$program" 2>/dev/null
wait "$program"
[ -z "$remove" ] || rm -rf -- "$remove"
