"""Bars show the work, and do not stop it when they cannot be written."""

import errno
import io
import sys

import pytest

from rq_jax.distributed import progress


def test_a_bar_shows_what_is_done_on_the_standard_error(capsys):
  with progress.bar(total=4, desc='steps', mininterval=0) as bar:
    bar.update(3)
  assert 'steps:  75%' in capsys.readouterr().err


def test_what_is_written_aside_has_lines_of_its_own(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', io.StringIO())
  with progress.bar(total=4, desc='steps', mininterval=0) as bar:
    bar.update(1)
    with progress.aside():
      sys.stderr.write('the disk is full\n')
    shown = sys.stderr.getvalue()
  before, after = shown.split('the disk is full\n')
  # A terminal shows only the part of a line after its last carriage return.
  assert 'steps:  25%' in before and before.split('\r')[-1].strip() == ''
  assert 'steps:  25%' in after


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.EIO, 'the terminal is gone'),
        BrokenPipeError(errno.EPIPE, 'the reader is gone'),
        ValueError('I/O operation on closed file'),
    ],
)
def test_a_bar_outlives_its_reader(error, monkeypatch):
  class Gone(io.StringIO):

    def write(self, text):
      raise error

    def flush(self):
      raise error

  monkeypatch.setattr(sys, 'stderr', Gone())
  with progress.bar(total=4, mininterval=0) as bar:
    bar.update(3)
    bar.set_postfix_str('loss 1')
    assert bar.n == 3


@pytest.mark.parametrize('at_once', [3, 100])
def test_threads_give_results_in_order_and_a_bar_counts_them(
    at_once, monkeypatch, capsys
):
  monkeypatch.setattr(progress, '_AT_ONCE', at_once)
  given = dict(desc='sizes', unit=' images')
  squares = progress.in_threads(lambda x: x * x, range(8), **given)
  assert list(squares) == [x * x for x in range(8)]
  assert not capsys.readouterr().err  # It was quick.
  monkeypatch.setattr(progress, 'SHOWN_AFTER_S', 0)
  list(progress.in_threads(lambda x: x, range(8), **given))
  assert 'sizes: 100%' in capsys.readouterr().err
