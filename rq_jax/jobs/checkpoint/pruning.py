"""Removes checkpoints that a run does not need any more."""

from collections.abc import Sequence

from etils import epath

from rq_jax import files
from rq_jax.checkpoints import failures
from rq_jax.checkpoints import steps
from rq_jax.distributed import console
from rq_jax.distributed import locks
from rq_jax.jobs.checkpoint import described


def run(
    path: epath.PathLike,
    *,
    keep: int | None = None,
    every: int | None = None,
    chosen: Sequence[int] | None = None,
    dry_run: bool = False,
) -> None:
  """Removes checkpoints of a run, and prints which ones.

  Args:
    path: The folder of the run.
    keep: How many of the newest are kept. The best stays, too, if the run keeps
      it.
    every: Steps that are multiples of this are kept; None for those that the
      run itself keeps.
    chosen: The steps to remove, in place of `keep` and `every`.
    dry_run: Whether to only print what would be removed.

  Raises:
    ValueError: If a run holds the folder, there is no such step, or no
      checkpoint would be left.
  """
  found = described.read(path)
  if dry_run:
    _prune(found, keep, every, chosen, dry_run)
    return
  with locks.hold(found.path, flag='WORKDIR'):
    # Its run may have saved or removed some until now.
    _prune(described.read(path), keep, every, chosen, dry_run)


def _prune(found: described.Described, keep, every, chosen, dry_run) -> None:
  if chosen is None:
    kept = found.kept(newest=keep or 1, every=every)
    removed = [step for step in found.steps if step not in kept]
  else:
    removed = _chosen(found, chosen)
    kept = {step: [] for step in found.steps if step not in removed}
  if not removed:
    console.tell(f'Nothing to remove; {found.path} has {_listed(kept)}.')
    return
  size = 0
  for step in removed:
    size += described.size(found.path, step)
    if not dry_run:
      _remove(found.path, step)
  verb = 'Would remove' if dry_run else 'Removed'
  steps_removed = ', '.join(map(str, removed))
  console.tell(f'{verb} {steps_removed}: {files.readable(size)}.')
  console.tell(f'{"Would keep" if dry_run else "Kept"} {_listed(kept)}.')
  if max(kept) < found.steps[-1]:
    console.tell(f'The next start of the run resumes from step {max(kept)}.')


def _chosen(found: described.Described, chosen: Sequence[int]) -> list[int]:
  if unknown := [step for step in chosen if step not in found.steps]:
    raise ValueError(
        f'--step={unknown[0]}: {found.path} has no such checkpoint; it has'
        f' {found.steps}. Change --step.'
    )
  if set(chosen) == set(found.steps):
    raise ValueError(
        f'--step={",".join(map(str, chosen))} names all checkpoints of'
        f' {found.path}. Leave one out, or remove the folder yourself.'
    )
  return sorted(set(chosen))


def _listed(kept: dict[int, list[str]]) -> str:
  return ', '.join(
      f'{step} ({", ".join(reasons)})' if reasons else str(step)
      for step, reasons in kept.items()
  )


def _remove(path: epath.Path, step: int) -> None:
  """Removes a checkpoint, so that no killed program leaves half of it."""
  folder = steps.folder(path)
  removed = folder / f'{step}{failures.UNFINISHED}'
  removed.rmtree(missing_ok=True)
  (folder / str(step)).rename(removed)
  removed.rmtree()
