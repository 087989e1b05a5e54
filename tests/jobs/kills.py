"""Ends jobs within a test, as SIGKILL would."""

import contextlib

from rq_jax import files


class Killed(BaseException):
  """Ends a job like SIGKILL: nothing handles this exception."""


def dies_at(moment, monkeypatch):
  """Kills the job before it opens, or before it renames, its n-th file."""
  moments = iter(range(1000))
  whole = files.whole

  @contextlib.contextmanager
  def mortal(path, **options):
    if next(moments) == moment:
      raise Killed
    with whole(path, **options) as file:
      yield file
      if next(moments) == moment:
        # A kill leaves a partial file behind, which an error removes.
        path.with_name(f'{path.name}.killed{files.PARTIAL}').write_bytes(b'-')
        raise Killed

  monkeypatch.setattr(files, 'whole', mortal)
