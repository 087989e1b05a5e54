#!/usr/bin/env bash
# Trains both stages on real digits, draws images, and writes a report.
#
#   bash launch/quickstart.sh [--seed=0] [--out=runs/quickstart]
#
# --seed is the seed of training and drawing, --out the folder of the results.
#
# Sets up .venv. Needs Python >= 3.11 (set PYTHON=/path/to/python to choose one)
# and, the first time, a network. Arguments go to `python -m rq_jax quickstart`.
# Paths are relative to the root of the repository.

set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"

setup_venv quickstart
cd "$ROOT"
exec "$VENV_PYTHON" -m rq_jax quickstart "$@"
