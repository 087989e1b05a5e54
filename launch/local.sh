#!/usr/bin/env bash
# Runs a command in several processes on this machine, with simulated devices.
#
#   bash launch/local.sh train --config=configs/digits/rqvae.py \
#       --workdir=runs/digits/rqvae
#   bash launch/local.sh --processes=4 --devices=2 encode \
#       --tokenizer=runs/digits/rqvae --out=cache/digits
#
# --processes is their number (2), --devices the number of simulated devices of
# each (1). The rest goes to `python -m rq_jax`: train, encode, prepare, sample
# or evaluate. All processes work on the CPU.
#
# Lines of all processes but the first start with the number of the process.
# Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP go to all processes. Exit codes: 0 all
# finished; 75 interrupted, run the same command again to resume; another code
# is that of the first process that failed. Processes that are left 60 s after
# one has failed are killed.
#
# Uses .venv, or else the python on the path. Paths are relative to the root of
# the repository.

set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"

GRACE=60  # Seconds.
FIND_PORT='import socket; s = socket.socket(); s.bind(("localhost", 0))
print(s.getsockname()[1])'

# Starts process $1 of the command that follows; appends to `left`.
start() {
  local i="$1" joining=()
  shift
  if ((processes > 1)); then
    joining=("--coordinator=localhost:$port" "--processes=$processes"
      "--process=$i")
  fi
  if ((i == 0)); then
    "$python" -m rq_jax "$@" ${joining[@]+"${joining[@]}"} </dev/null &
    left[i]=$!
  else
    "$python" -m rq_jax "$@" "${joining[@]}" </dev/null \
      > >(number_lines "$i") 2>&1 &
    left[i]=$!
  fi
}

# Copies lines, with the number of their process; outlives signals.
number_lines() {
  trap '' INT TERM USR1 HUP
  exec sed -u "s/^/[$1] /"
}

# Removes the processes that have ended from `left`, and notes their exit codes.
collect() {
  local i code
  for i in "${!left[@]}"; do
    if ! kill -0 "${left[i]}"; then
      code=0
      wait "${left[i]}" || code=$?
      # A signal ends a process in which Python has only started.
      ((code != killed)) || code=75
      unset 'left[i]'
      if ((code == 75)); then
        interrupted=75
      elif ((code != 0)); then
        echo "Process $i has failed, with exit code $code." >&3
        failed="${failed:-$code}"
        deadline="${deadline:-$((SECONDS + GRACE))}"
      fi
    fi
  done
}

# Passes a signal on; a process that has just ended is no error.
pass_on() {
  kill -s "$1" "${left[@]}" || true
}

# Passes on the signal that this script got.
interrupt() {
  killed=$((128 + $(kill -l "$1")))
  pass_on "$1"
}

# Runs the command that follows in all processes, until all have ended. It is a
# function, so that bash has read it all: the script may be edited meanwhile.
run_all() {
  trap 'interrupt INT' INT
  trap 'interrupt TERM' TERM
  trap 'interrupt USR1' USR1
  trap 'interrupt HUP' HUP
  # Otherwise, bash lets jobs in the background ignore Ctrl-C. In groups of
  # their own, they get it only from this script.
  set -m
  for ((i = 0; i < processes; i++)); do
    start "$i" "$@"
  done
  set +m
  # Bash itself would also report processes that a signal ended.
  exec 3>&2 2>/dev/null
  while ((${#left[@]})); do
    sleep 0.2 || true
    collect
    if [[ -n "$deadline" ]] && ((SECONDS >= deadline && ${#left[@]})); then
      echo "Killing the processes that are left: ${!left[*]}." >&3
      pass_on KILL
      deadline=$((SECONDS + GRACE))
    fi
  done
  wait  # For the last lines.
}

processes=2
devices=1
while [[ "${1:-}" == -* ]]; do
  case "$1" in
    --processes=*) processes="${1#*=}" ;;
    --devices=*) devices="${1#*=}" ;;
    *)
      die "$1 is not a flag of local.sh, which has --processes and --devices." \
        'Write flags of the command after its name.'
      ;;
  esac
  shift
done
for number in "$processes" "$devices"; do
  [[ "$number" =~ ^[1-9][0-9]{0,3}$ ]] \
    || die "--processes and --devices must be at least 1, but one is '$number'."
done
(($#)) || die 'Name a command, such as train. --help shows examples.'

cd "$ROOT"
python="$(installed_python)" || exit
export JAX_PLATFORMS=cpu
export XLA_FLAGS="${XLA_FLAGS:-}\
 --xla_force_host_platform_device_count=$devices"
# Collectives block threads, and XLA has only one per core.
export NPROC="${NPROC:-$((16 + devices))}"
port="$("$python" -c "$FIND_PORT")"
left=() interrupted='' failed='' deadline='' killed=75
run_all "$@" && exit "${failed:-${interrupted:-0}}"  # One line: see run_all.
