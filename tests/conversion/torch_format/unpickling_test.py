"""No pickle is executed, and none uses more memory than allowed."""

import io
import os
import pickle
import re

import pytest

from rq_jax.conversion import state_dicts
from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format import unpickling
from tests.conversion import hostile_pickles
from tests.conversion import pickles


class _Command:
  """An object whose pickle calls os.system."""

  def __reduce__(self):
    return os.system, (f'touch {hostile_pickles.SENTINEL}',)


# In the format before PyTorch 1.6, other checks find these, with other errors.
LEGACY = {
    'storage that is missing': "nothing in it uses storage '0'",
    'storage outside of its folder': "nothing in it uses storage '0'",
    'storage larger than its file': 'have 1099511627776 elements, but it has 4',
    'bytes after the end': 'exactly one value',
}


@pytest.mark.parametrize('write', [pickles.write, pickles.write_legacy])
@pytest.mark.parametrize('name', hostile_pickles.HOSTILE)
def test_a_hostile_pickle_is_refused_in_one_sentence_and_executes_nothing(
    tmp_path, monkeypatch, name, write
):
  monkeypatch.chdir(tmp_path)
  body, message = hostile_pickles.HOSTILE[name]
  if write is pickles.write_legacy:
    message = LEGACY.get(name, message)
  path = write(tmp_path / 'hostile.pt', pickles.whole(body))
  with pytest.raises(ValueError, match=re.escape(message)) as refusal:
    reading.TorchFile(path)
  assert type(refusal.value) is ValueError
  assert str(refusal.value).startswith(str(path))
  assert len(str(refusal.value)) < len(str(path)) + 400
  assert os.listdir(tmp_path) == ['hostile.pt']


@pytest.mark.parametrize('write', [pickles.write, pickles.write_legacy])
@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_pickle_itself_makes_of_a_command_is_not_executed(
    tmp_path, monkeypatch, protocol, write
):
  monkeypatch.chdir(tmp_path)
  data = pickle.dumps({'state_dict': _Command()}, protocol)
  path = write(tmp_path / 'hostile.pt', data, {})
  # torch.save writes protocol 2; protocol 1 has the same instructions.
  message = 'posix.system' if protocol in (1, 2) else 'cannot be read'
  with (
      pytest.raises(ValueError, match=message),
      state_dicts.open_state_dict(path),
  ):
    pass
  assert os.listdir(tmp_path) == ['hostile.pt']
  # The payload is real: Python's own machine executes it.
  pickle.load(io.BytesIO(data))
  assert hostile_pickles.SENTINEL in os.listdir(tmp_path)


def test_a_pickle_without_an_end_is_refused():
  with pytest.raises(ValueError, match='cut off'):
    unpickling.parse(pickle.PROTO + b'\2' + pickle.NONE, 'a.pt')


def test_a_long_pickle_is_refused_before_it_is_read():
  with pytest.raises(ValueError, match='only 16777216 are allowed'):
    unpickling.parse(bytes(unpickling.MAX_BYTES + 1), 'a.pt')


def test_a_long_pickle_before_other_bytes_is_refused_by_its_length():
  body = pickle.PROTO + b'\2' + pickles.text('x' * unpickling.MAX_BYTES)
  for data in (body[: unpickling.MAX_BYTES + 1], body + pickle.STOP):
    with pytest.raises(ValueError, match='more than 16777216 bytes'):
      unpickling.parse_first(data, 'a.pt')


def test_a_pickle_before_other_bytes_is_as_long_as_up_to_its_end():
  data = pickles.whole(pickles.tensor())
  found = unpickling.parse_first(data + data, 'a.pt')
  assert found == (*unpickling.parse(data, 'a.pt'), len(data))


def test_a_long_name_is_shortened():
  body = pickles.whole(pickles.name('m' * 1000, 'f'))
  with pytest.raises(ValueError) as refusal:
    unpickling.parse(body, 'a.pt')
  assert f"'{'m' * 80}...'" in str(refusal.value)
