# Runs once inside the node image, without systemd: prepare.sh PACKAGE_VERSION REPOSITORY_PATH
set -eu
version=$1 repository=$2

keyring=/etc/apt/keyrings/kubernetes-apt-keyring.gpg
echo "deb [signed-by=$keyring] file:/run/lab/repository/$repository/ /" \
    >/etc/apt/sources.list.d/kubernetes.list
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends "kubelet=$version" "kubeadm=$version" "kubectl=$version"
apt-mark hold kubelet kubeadm kubectl
systemctl enable kubelet.service
# The address is another in each cluster; the index would name a source that is gone.
rm /etc/apt/sources.list.d/kubernetes.list
find /var/lib/apt/lists -type f -delete
apt-get clean

containerd >/run/containerd.log 2>&1 &
containerd=$!
for _ in $(seq 100); do
    ctr version >/dev/null 2>&1 && break
    sleep 0.1
done
for image in /run/lab/images/*.tar; do
    ctr --namespace k8s.io images import "$image" || { cat /run/containerd.log; exit 1; }
done
kill "$containerd"
wait "$containerd" || true
