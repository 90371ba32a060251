#!/bin/sh
# The floor of `make bench`: what playbooks/spark.yml does, done by hand with ssh and kubectl by somebody who has every file ready
# and makes no mistake. The same steps in the same order, the same conditions to wait for, no sleeps, and no checks of its own.
# usage: floor.sh INPUTS, where INPUTS was written by floor_inputs.yml; kubectl is found in PATH.
set -eu

inputs=$1
# shellcheck source=/dev/null # written for each lab
. "$inputs/floor.env"

on_host() {
    # shellcheck disable=SC2086,SC2029 # several options; the commands below are fixed words
    ssh $SSH_OPTIONS "$TARGET" "$@"
}

# The signing key, the repository, all configuration and the token.
on_host tar --extract --directory / --no-overwrite-dir <"$inputs/host.tar"

# The same variables, then the steps that use them.
cat "$inputs/floor.env" - <<'HOST' | on_host sh -eu
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet=2 update
# shellcheck disable=SC2086 # a list
apt-get --quiet=2 --yes install $PACKAGES
nvidia-ctk --quiet cdi generate --output="$CDI_FILE"

images=/var/lib/rancher/k3s/agent/images
mkdir -p "$images"
fetch() {
    curl --fail --silent --show-error --output "$3" "$1"
    echo "$2  $3" | sha256sum --check --quiet
}
# shellcheck disable=SC2086 # a list
set -- $ARCHIVES_SHA256
for url in $ARCHIVES; do
    fetch "$url" "$1" "$images/${url##*/}"
    shift
done
fetch "$K3S_URL" "$K3S_SHA256" /usr/local/bin/k3s
chmod 0755 /usr/local/bin/k3s
systemctl daemon-reload
systemctl enable --quiet --now k3s-agent.service
HOST

kubectl wait "node/$NODE" --for=create --timeout=300s
kubectl wait "node/$NODE" --for=condition=Ready --timeout=300s
kubectl apply --server-side --field-manager="$FIELD_MANAGER" --filename="$inputs/manifests.yaml"
kubectl wait "node/$NODE" --for=jsonpath="{.status.capacity.$RESOURCE}=$COUNT" --timeout=300s
kubectl wait "node/$NODE" --for=jsonpath="{.status.allocatable.$RESOURCE}=$COUNT" --timeout=300s

pod=$(kubectl create --filename="$inputs/pod.yaml" --output=name)
kubectl wait --namespace="$NAMESPACE" "$pod" --for=jsonpath='{.status.conditions[?(@.type=="Ready")].reason}'=PodCompleted --timeout=120s
seen=$(kubectl get --namespace="$NAMESPACE" "$pod" --output=jsonpath='{.status.containerStatuses[0].state.terminated.message}')
kubectl delete --namespace="$NAMESPACE" "$pod" --wait=false
case $seen in
    *GPU-*) echo "$seen" ;;
    *) echo "the pod saw no GPU: $seen" >&2; exit 1 ;;
esac
