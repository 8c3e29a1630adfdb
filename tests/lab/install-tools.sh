#!/bin/sh
# Installs the host programs the lab needs, by apt, saying what each is for. Debian 12 or 13, as root.
# Go 1.26 or newer is needed as well and is not installed here: Debian's is older.
set -eu

while read -r package purpose; do
    printf '%-18s %s\n' "$package" "$purpose"
done <<END
systemd-container boots the nodes (systemd-nspawn)
mmdebstrap        makes the nodes' Debian image
dpkg-dev          makes the Kubernetes packages
apt-utils         indexes the package repository
gnupg             signs the package repository
iproute2          connects the nodes
util-linux        runs commands in the nodes (nsenter)
END

exec apt-get install -y --no-install-recommends \
    systemd-container mmdebstrap dpkg-dev apt-utils gnupg iproute2 util-linux
