#!/usr/bin/env bash
# Measures on an accelerator what only a device can show, in under 12 minutes.
#
#   bash launch/device_check.sh [--out=device.json] [--minutes=11] [--small]
#
# In this order: constants of the device; the sampler of the RQ-Transformer of
# 1.4 billion parameters at five batches, with the kernels of XLA and those of
# Pallas; a training step of both stages; each Pallas kernel against its plain
# form, which fails if they differ by more than rounding; greedy codes against
# those of the CPU; the decoder. The file --out is written after every case, so a
# stop loses nothing. What fails or cannot run is recorded with its reason, and
# the check goes on. Exit code 1: cases failed, or a flag is unknown.
#
# No case that takes long starts after --minutes. --small tries the check with
# tiny models, on any device. `python docs/device_figures.py device.json` prints
# the results as tables.
#
# Needs Python >= 3.11 with jax for the device, flax, optax, orbax-checkpoint,
# chex, numpy, absl-py, tqdm and pillow; neither data nor a network. Uses
# $PYTHON, or else .venv, or else the python on the path. Paths are relative to
# the root of the repository.

set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"

out=device.json
rest=()
for word in "$@"; do
  case "$word" in
    --out=*) out="${word#*=}" ;;
    --minutes=* | --small) rest+=("$word") ;;
    *) die "$word is not a flag of device_check.sh. See --help." ;;
  esac
done

cd "$ROOT"
python="${PYTHON:-}"
[[ -n "$python" ]] || python="$(installed_python)" || exit
# The largest step takes most of the memory; by default, JAX takes 75 %.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"
exec "$python" -m rq_jax benchmark device "--out=$out" ${rest[@]+"${rest[@]}"}
