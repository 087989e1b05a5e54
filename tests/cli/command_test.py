"""What all commands share: separate flags, and exit codes."""

import pytest

from rq_jax.cli import command
from rq_jax.distributed import interrupts


def test_commands_keep_their_flags_apart():
  one, two = command.new_flags(), command.new_flags()
  command.flags.DEFINE_string('out', 'a', 'One.', flag_values=one)
  command.flags.DEFINE_integer('out', 1, 'Two.', flag_values=two)
  assert one['out'].value == 'a'
  assert two['out'].value == 1


def _refuse():
  raise ValueError('no\n  good')


@pytest.mark.parametrize(
    ('outcome', 'code'),
    [
        (lambda _: None, 0),
        (lambda _: interrupts.RESUMABLE, 75),
        (lambda _: _refuse(), 1),
    ],
)
def test_exit_codes_are_zero_75_and_one(outcome, code, capsys):
  assert command.run(command.new_flags(), ['x'], 'doc', outcome) == code
  if code == 1:
    assert capsys.readouterr().err == 'Error: no good\n'


def test_a_bug_is_not_disguised_as_an_error_of_the_user():
  with pytest.raises(ZeroDivisionError):
    command.run(command.new_flags(), ['x'], 'doc', lambda _: 1 / 0)
