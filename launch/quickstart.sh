#!/usr/bin/env bash
# Trains both stages on real digits, samples, and leaves a report to look at.
#
#   bash launch/quickstart.sh [--seed=0] [--out=runs/quickstart] [...]
#
# Needs Python >= 3.11 (PYTHON=/path/to/python chooses one) and a network the
# first time; sets up .venv. Arguments go to `python -m rq_jax quickstart`, which
# runs in the root of the repository: paths are relative to it. --help lists them.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"

setup_venv quickstart
cd "$ROOT"
exec "$VENV_PYTHON" -m rq_jax quickstart "$@"
