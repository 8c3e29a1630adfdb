#!/bin/sh
# Installs the host programs the lab needs and that are missing, by apt, saying what each is for. Debian 12 or 13.
# Go 1.26 or newer is needed as well and is not installed here: Debian's is older.
set -eu

missing=
while read -r package purpose; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then
        printf 'missing: %-18s %s\n' "$package" "$purpose"
        missing="$missing $package"
    fi
done <<END
systemd-container boots the nodes (systemd-nspawn)
mmdebstrap        makes the nodes' Debian image
dpkg-dev          makes the Kubernetes packages and the agent's
debhelper         packs the agent, with maintainer scripts that are kept well
lintian           judges the agent's package
apt-utils         indexes the package repository
gnupg             signs the package repository
iproute2          connects the nodes
util-linux        runs commands in the nodes (nsenter)
END

if ! command -v go >/dev/null; then
    echo "Go 1.26 or newer is missing: it builds the Kubernetes programs; see https://go.dev/doc/install" >&2
    exit 1
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "installing these needs root, as does booting nodes" >&2
    exit 1
fi
# shellcheck disable=SC2086 # one word per package
install() { apt-get install -y --no-install-recommends $missing; }
# A fresh machine has no package lists, an old one stale ones.
install || { apt-get update && install; }
