#!/usr/bin/env bash
# Creates a Cloud TPU pod, and installs and runs this checkout on its workers.
#
#   bash launch/tpu_pod.sh create  --name=pod --zone=us-east5-b --type=v6e-64
#   bash launch/tpu_pod.sh install --name=pod --zone=us-east5-b
#   bash launch/tpu_pod.sh run     --name=pod --zone=us-east5-b train \
#       --config=configs/imagenet256/rqvae.py \
#       --config.data.path=gs://BUCKET/data --workdir=gs://BUCKET/runs/rqvae
#   bash launch/tpu_pod.sh logs    --name=pod --zone=us-east5-b
#   bash launch/tpu_pod.sh stop    --name=pod --zone=us-east5-b
#   bash launch/tpu_pod.sh collect --name=pod --zone=us-east5-b --to=collected
#   bash launch/tpu_pod.sh delete  --name=pod --zone=us-east5-b
#
# create   --type is the accelerator type, --version the software of the TPU
#          (the usual one of the type), --spot takes a machine that may end.
# install  copies the tracked files of this checkout, changed ones as they are,
#          to rq_jax/ on all workers, and sets up .venv there.
# run      starts `python -m rq_jax` with the arguments that follow, on all
#          workers, and returns. The command survives a lost connection.
# logs     follows the log of a worker (--worker=0) until the command ends; the
#          exit code is that of the command.
# stop     sends SIGTERM: the command saves and exits with code 75. The same
#          `run` resumes it.
# collect  copies rq_jax/runs of the first worker, and the logs of all workers.
# delete   deletes the pod and its disks.
#
# --project=PROJECT is the project of all calls. With --dry_run, the calls are
# printed and not made. Needs the Google Cloud CLI, logged in.

set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"

# Prints its arguments so that a shell can read them.
quoted() {
  local word flag space=''
  for word in "$@"; do
    flag=''
    if [[ "$word" =~ ^(--[a-z-]+=)(.*) ]]; then
      flag="${BASH_REMATCH[1]}"
      word="${word#"$flag"}"
    fi
    [[ "$word" =~ ^[A-Za-z0-9_./:=@,+-]+$ ]] || word="${word@Q}"
    printf '%s' "$space$flag$word"
    space=' '
  done
}

# Runs a call, or prints it.
call() {
  if [[ -n "$dry_run" ]]; then
    quoted "$@"
    echo
  else
    "$@"
  fi
}

# Calls gcloud for TPU machines: a verb, the name of the pod, flags.
tpu() {
  call gcloud compute tpus tpu-vm "$@" --zone="$zone" \
    ${project:+"--project=$project"}
}

# Runs a command on workers $1; further arguments are flags.
on_workers() {
  local workers="$1" command="$2"
  shift 2
  tpu ssh "$name" --worker="$workers" --command="$command" "$@"
}

# Prints the usual software of an accelerator type.
usual_version() {
  case "$1" in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v[234]-*) echo tpu-ubuntu2204-base ;;
    *) die "The usual software of --type=$1 is not known. Set --version." ;;
  esac
}

create() {
  [[ -n "$type" ]] || die 'Set --type to an accelerator type, such as v6e-64.'
  [[ -n "$version" ]] || version="$(usual_version "$type")" || exit
  tpu create "$name" --accelerator-type="$type" --version="$version" \
    ${spot:+--spot}
}

install_checkout() {
  local folder=/tmp
  [[ -n "$dry_run" ]] || folder="$(mktemp -d)"
  call bash -o pipefail -c \
    "git ls-files -z | tar --null -T - -czf $folder/rq_jax.tar.gz" \
    || die "The files of $ROOT cannot be packed. It must be a git clone."
  tpu scp "$folder/rq_jax.tar.gz" "$name:rq_jax.tar.gz" --worker=all
  # The usual software has Python 3.10.
  on_workers all "$(
    cat <<'REMOTE'
set -e
sudo apt-get update -q
sudo apt-get install -q -y python3.11 python3.11-venv
mkdir -p rq_jax
tar -xzf rq_jax.tar.gz -C rq_jax
source rq_jax/launch/setup_venv.sh
setup_venv tpu,gcs,fast
REMOTE
  )"
  [[ -n "$dry_run" ]] || rm -r "$folder"
}

run_command() {
  (($#)) || die 'Name a command, such as train. --help shows examples.'
  local inner
  inner="$(quoted .venv/bin/python -m rq_jax "$@") & echo \$! >run.pid"
  inner+='; wait $!; echo $? >run.code'
  on_workers all "cd rq_jax
if [[ -e run.pid && ! -e run.code ]] && kill -0 \$(cat run.pid); then
  echo 'A command runs already. Stop it first.' >&2; exit 1
fi
rm -f run.pid run.code
setsid nohup bash -c ${inner@Q} >>run.log 2>&1 </dev/null &
until [[ -s run.pid ]]; do sleep 0.1; done"
}

verb="${1:-}"
(($# == 0)) || shift
cd "$ROOT"
name='' zone='' project='' type='' version='' spot='' dry_run='' worker=0
to=collected
while [[ "${1:-}" == -* ]]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --project=*) project="${1#*=}" ;;
    --type=*) type="${1#*=}" ;;
    --version=*) version="${1#*=}" ;;
    --spot) spot=1 ;;
    --worker=*) worker="${1#*=}" ;;
    --to=*) to="${1#*=}" ;;
    --dry_run) dry_run=1 ;;
    *) die "$1 is not a flag of tpu_pod.sh; --help lists them." ;;
  esac
  shift
done
[[ -n "$name" && -n "$zone" ]] || die 'Set --name and --zone of the pod.'
[[ "$verb" == run ]] || (($# == 0)) || die "$verb takes no argument $1."

case "$verb" in
  create) create ;;
  install) install_checkout ;;
  run) run_command "$@" ;;
  logs)
    on_workers "$worker" "cd rq_jax
tail -n 100 -F --pid=\$(cat run.pid) run.log
sleep 1  # Until its exit code is written.
exit \$(cat run.code)"
    ;;
  stop) on_workers all "kill -TERM \$(cat rq_jax/run.pid)" ;;
  collect)
    call mkdir -p "$to/logs"
    on_workers all 'cat rq_jax/run.log' --output-directory="$to/logs"
    tpu scp --recurse "$name:rq_jax/runs" "$to" --worker=0
    ;;
  delete) tpu delete "$name" ;;
  *)
    die "'$verb' must be create, install, run, logs, stop, collect or delete."
    ;;
esac
