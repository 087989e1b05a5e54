#!/usr/bin/env bash
# Starts a command on TPUs or GPUs of a GKE cluster, as a JobSet.
#
#   bash launch/gke/jobset.sh --name=rqvae --image=IMAGE \
#       --accelerator=tpu-v6e-slice --topology=4x4 train \
#       --config=configs/imagenet256/rqvae.py \
#       --config.data.path=gs://BUCKET/data --workdir=gs://BUCKET/runs/rqvae
#   bash launch/gke/jobset.sh --name=rqvae --image=IMAGE \
#       --accelerator=nvidia-h100-80gb --gpus=8 --hosts=4 train ...
#
# --name             name of the JobSet
# --image            the image, built by launch/gke/Dockerfile
# --accelerator      value of the node label gke-tpu-accelerator, which starts
#                    with tpu-, or of the label gke-accelerator for GPUs
# --topology         TPU: shape of a slice, such as 4x4 or 2x2x4
# --chips            TPU: chips per host (4)
# --slices           TPU: number of slices (1); for several, the command also
#                    needs --config.mesh.slices
# --gpus, --hosts    GPU: GPUs per host (8), number of hosts (1)
# --queue            name of a LocalQueue: Kueue starts the JobSet
# --spot             runs on spot machines
# --service_account  service account of Kubernetes that may use the bucket
# --dry_run          prints the manifest and starts nothing
#
# The rest goes to `python -m rq_jax` in every pod. Exit code 75 and disrupted
# pods restart all pods, as often as needed; errors restart them three times.
# Needs kubectl, and JobSet >= 0.6 in the cluster.

set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/../setup_venv.sh"

# Kubernetes writes the number of a pod there.
index_key=batch.kubernetes.io/job-completion-index

# Prints a string of YAML; `as_argument` also keeps $(...) from Kubernetes.
as_string() {
  local text="${1//\\/\\\\}"
  [[ "$1" != *[[:cntrl:]]* ]] || die "${1@Q} has a control character."
  printf '"%s"' "${text//\"/\\\"}"
}
as_argument() {
  as_string "${1//\$(/\$\$(}"
}

# Prints lines $2 if $1 is not empty.
if_set() {
  [[ -z "$1" ]] || printf '%s\n' "$2"
}

# Prints the labels that select nodes.
selectors() {
  if [[ -n "$is_tpu" ]]; then
    echo "              cloud.google.com/gke-tpu-accelerator: $accelerator"
    echo "              cloud.google.com/gke-tpu-topology: $topology"
  else
    echo "              cloud.google.com/gke-accelerator: $accelerator"
  fi
  if_set "$spot" '              cloud.google.com/gke-spot: "true"'
}

# Prints the arguments of the container, one per line.
arguments() {
  local word
  for word in "$@"; do
    echo "              - $(as_argument "$word")"
  done
  # JAX finds the processes on TPUs of GKE by itself.
  if [[ -z "$is_tpu" ]] && ((hosts > 1)); then
    echo "              - --coordinator=$name-workers-0-0.$name:1234"
    echo "              - --processes=$hosts"
    # shellcheck disable=SC2016  # Kubernetes puts the number in.
    echo '              - --process=$(PROCESS)'
  fi
}

manifest() {
  cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
$(if_set "$queue" "  labels:
    kueue.x-k8s.io/queue-name: $queue")
$(if_set "$is_tpu" "  annotations:
    # Each slice is one node pool.
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool")
spec:
$(if_set "$queue" "  suspend: true  # Until Kueue admits it.")
  failurePolicy:
    maxRestarts: 3
    rules:
    # Exit code 75 or a disrupted pod, see podFailurePolicy.
    - name: interrupted
      action: RestartJobSetAndIgnoreMaxRestarts
      onJobFailureReasons:
      - PodFailurePolicy
  replicatedJobs:
  - name: workers
    replicas: $slices
    template:
      spec:
        backoffLimit: 0
        completionMode: Indexed
        completions: $hosts
        parallelism: $hosts
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes:
              containerName: rq-jax
              operator: In
              values:
              - 75
          - action: FailJob
            onPodConditions:
            - type: DisruptionTarget
              status: "True"
        template:
          spec:
            restartPolicy: Never
            # Spot machines end after 25 s.
            terminationGracePeriodSeconds: $grace
$(if_set "$service_account" "            serviceAccountName: $service_account")
            nodeSelector:
$(selectors)
$(if_set "$spot" '            tolerations:
            - key: cloud.google.com/gke-spot
              operator: Equal
              value: "true"
              effect: NoSchedule')
            containers:
            - name: rq-jax
              image: $(as_string "$image")
              args:
$(arguments "$@")
              env:
              - name: PROCESS
                valueFrom:
                  fieldRef:
                    fieldPath: metadata.annotations['$index_key']
$(if_set "$is_tpu" "              # The devices belong to root.
              securityContext:
                runAsUser: 0")
              resources:
                limits:
                  $resource: $devices
              # The loader's workers and NCCL need more than 64 MB.
              volumeMounts:
              - name: shared-memory
                mountPath: /dev/shm
            volumes:
            - name: shared-memory
              emptyDir:
                medium: Memory
YAML
}

name='' image='' accelerator='' topology='' chips=4 slices=1 gpus=8 hosts=1
queue='' spot='' service_account='' dry_run=''
while [[ "${1:-}" == -* ]]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --image=*) image="${1#*=}" ;;
    --accelerator=*) accelerator="${1#*=}" ;;
    --topology=*) topology="${1#*=}" ;;
    --chips=*) chips="${1#*=}" ;;
    --slices=*) slices="${1#*=}" ;;
    --gpus=*) gpus="${1#*=}" ;;
    --hosts=*) hosts="${1#*=}" ;;
    --queue=*) queue="${1#*=}" ;;
    --spot) spot=1 ;;
    --service_account=*) service_account="${1#*=}" ;;
    --dry_run) dry_run=1 ;;
    *) die "$1 is not a flag of jobset.sh; --help lists them." ;;
  esac
  shift
done
(($#)) || die 'Name a command, such as train. --help shows examples.'
[[ -n "$image" ]] || die 'Set --image.'
[[ "$name" =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] \
  || die "--name='$name' must have up to 40 letters a-z, digits and hyphens."
for word in "$accelerator" "${queue:-none}" "${service_account:-none}"; do
  [[ "$word" =~ ^[a-z0-9][a-z0-9.-]*$ ]] \
    || die "'$word' must have only letters a-z, digits, hyphens and points." \
      'Change --accelerator, --queue or --service_account.'
done
for number in "$chips" "$slices" "$gpus" "$hosts"; do
  [[ "$number" =~ ^[1-9][0-9]{0,4}$ ]] \
    || die "'$number' must be at least 1. Change --chips, --slices, --gpus or" \
      '--hosts.'
done
is_tpu='' resource=nvidia.com/gpu devices="$gpus"
if [[ "$accelerator" == tpu* ]]; then
  is_tpu=1 resource=google.com/tpu devices="$chips"
  [[ "$topology" =~ ^[1-9][0-9]*(x[1-9][0-9]*){1,2}$ ]] \
    || die "--topology='$topology' must be a shape of chips, such as 4x4."
  ((hosts == 1)) || die '--hosts is for GPUs. For TPUs, --topology decides it.'
  total=$((${topology//x/*}))
  ((total % chips == 0)) \
    || die "--chips=$chips must divide the $total chips of" \
      "--topology=$topology."
  hosts=$((total / chips))
else
  [[ "$slices" == 1 && -z "$topology" ]] \
    || die '--slices and --topology are for TPUs. For GPUs, set --hosts.'
fi
grace="${spot:+25}"
grace="${grace:-300}"
if [[ -n "$dry_run" ]]; then
  manifest "$@" | sed '/^$/d'
else
  manifest "$@" | sed '/^$/d' | kubectl apply -f -
fi
