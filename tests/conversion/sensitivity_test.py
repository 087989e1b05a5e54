"""Every official weight is used, and in the right place.

Each test changes one element of an array of a recorded model. The conversion
must give another model or refuse the change, and the outputs of the changed
model must differ from the recording, except for arrays that no recorded output
depends on.
"""

import dataclasses
import functools
import re

import flax
import jax
import numpy as np
import pytest

from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.conversion import tables
from rq_jax.models import build
from rq_jax.models import discriminator
from rq_jax.models import lpips
from tests import official

pytestmark = pytest.mark.slow

RQVAES = official.RQVAES
RQTRANSFORMERS = [f'rqtransformer_{name}' for name in official.RQTRANSFORMERS]

# Arrays that no recorded output depends on.
INVISIBLE = (
    # Adds the same number to all scores of a query, which the softmax ignores.
    r'\.(k|key)\.bias$',
    # Only training reads the averages of the codebook.
    r'\.(cluster_size_ema|embed_ema)$',
    # Only training reads whether an ActNorm has been fitted. Nothing reads how
    # many batches a BatchNorm has seen.
    r'\.(initialized|num_batches_tracked)$',
)
# Biases that are added to whole channels whose readers all subtract the mean.
# GroupNorm does so for 32 channels, where each group is one channel.
INVISIBLE_IN_32_CHANNELS = (
    r'\.conv1\.bias$',
    # Feature maps of the encoder's lowest and the decoder's highest level, from
    # the convolution that resamples them to the last normalization. At other
    # levels, the zero padding of the next resampling makes the bias visible.
    r'^(encoder\.(down\.2|mid)|decoder\.up\.0)\.'
    r'.*\.(conv2|nin_shortcut|v|proj_out)\.bias$',
    r'^(encoder\.down\.1\.down|decoder\.up\.1\.up)sample\.conv\.bias$',
)


def _is_invisible(name, array):
  patterns = INVISIBLE
  if array.shape == (32,):
    patterns += INVISIBLE_IN_32_CHANNELS
  return any(re.search(pattern, name) for pattern in patterns)


def _changed(name, array, row=0):
  """A copy with one element changed, in the given row if there are rows."""
  rng = np.random.default_rng(sum(map(ord, name)) + row)
  index = tuple(int(rng.integers(n)) for n in array.shape)
  index = (row, *index[1:]) if index else index
  changed = array.copy()
  changed[index] += np.asarray(1, array.dtype)
  return changed


DISCRIMINATORS = {'discriminator': 'batch', 'discriminator_act': 'act'}


@functools.cache
def _state(name):
  """The official arrays of a recorded model."""
  if name not in DISCRIMINATORS:
    return official.weights(name, whole=True)
  file = {'batch': 'model.npz', 'act': 'model_actnorm.npz'}
  path = official.FIXTURES / 'discriminator' / file[DISCRIMINATORS[name]]
  with np.load(path) as arrays:
    return dict(arrays)


@functools.cache
def _table(name):
  """Shapes of our variables, and the table."""
  if name not in DISCRIMINATORS:
    return official_model.model_table(official.config(name).model)
  config = official.config('rqvae_shared')
  abstract, rows = official_model.model_table(
      config.model,
      dataclasses.replace(config.discriminator, norm=DISCRIMINATORS[name]),
  )
  abstract = {n: abstract[n] for n in ('disc_params', 'disc_stats')}
  return abstract, [row for row in rows if row.ours[0].startswith('disc_')]


@functools.cache
def _dtypes(name):
  return {n: a.dtype for n, a in mapping.flatten(_table(name)[0]).items()}


def _rows(name, state, rows):
  return mapping.to_ours(rows, state.__getitem__, _dtypes(name))


@pytest.mark.parametrize('name', [*RQVAES, *RQTRANSFORMERS, *DISCRIMINATORS])
def test_a_change_of_any_official_array_is_a_change_of_ours(name):
  state = _state(name)
  rows = _table(name)[1]
  assert sorted(n for row in rows for n in row.theirs) == sorted(state)
  for row in rows:
    before = dict(_rows(name, state, [row]))
    for theirs in row.theirs:
      changed = state | {theirs: _changed(theirs, state[theirs])}
      try:
        after = dict(_rows(name, changed, [row]))
      except ValueError as error:
        # Refused: copies of a shared codebook that differ, and tables that do
        # not start at the right offsets.
        assert 'quantizer.codebooks' in theirs or 'tok_emb.offsets' in theirs
        assert theirs.rsplit('.', 1)[0] in str(error)
        continue
      same = [mapping.same_bits(before[n], after[n]) for n in row.ours]
      # Nothing reads how many batches a BatchNorm has seen.
      changes = 0 if theirs.endswith('num_batches_tracked') else 1
      assert same.count(False) == changes, theirs


@functools.cache
def _rqvae_outputs(name):
  """A function from variables to the recorded outputs, by recorded name."""
  model = build.rqvae(official.config(name).model)
  recorded = official.recording(name)
  images, codes = official.images(recorded['x']), recorded['rand_codes']

  @jax.jit
  def outputs(variables):
    bound = model.bind(variables)
    return {
        'z_e': bound.features(images),
        'out': bound.decode(recorded['z_q']).transpose(0, 3, 1, 2),
        'rand_embed_code': bound.embed(codes),
    }

  return outputs


@functools.cache
def _rqtransformer_outputs(name):
  """A function from variables to the recorded outputs, by recorded name."""
  model = build.rqtransformer(official.config(name).model)
  recorded = official.recording(name)
  codes = recorded['codes']
  condition = recorded.get('cond', np.zeros((len(codes), 1), np.int32))
  book = official.codebooks(official.weights('rqvae_aux'), 4)['shared']

  @jax.jit
  def outputs(variables):
    bound = model.bind(variables)
    hidden, spatial = bound.hidden(codes, condition, (book.embedding,))
    logits = bound.classify(hidden).reshape(*codes.shape, -1)
    made = {'logits': logits}
    if model.condition_length > 1:
      made['cond_logits'] = bound.condition_logits(spatial)
    return made

  return outputs


@functools.cache
def _discriminator_outputs(name):
  """A function from variables to the recorded outputs, by recorded name."""
  norm = DISCRIMINATORS[name]
  model = discriminator.PatchDiscriminator(channels=16, norm=norm)
  images = official.images(official.recording('discriminator')['fake'])
  output = {'batch': 'eval_logits_fake', 'act': 'actnorm_eval_fake'}[norm]

  @jax.jit
  def outputs(variables):
    params, stats = variables['disc_params'], variables['disc_stats']
    named = {'params': params, 'batch_stats': stats}
    logits = model.apply(named, images, train=False)
    return {output: logits.transpose(0, 3, 1, 2)}

  return outputs


def _outputs(name):
  if name in RQVAES:
    return _rqvae_outputs(name)
  if name in RQTRANSFORMERS:
    return _rqtransformer_outputs(name)
  return _discriminator_outputs(name)


@functools.cache
def _ours(name):
  """Our arrays of a recorded model, by path."""
  return jax.device_put(dict(_rows(name, _state(name), _table(name)[1])))


def _as_recorded(name, **changed):
  """Whether a model gives the recorded outputs, within the parity tolerance.

  Official arrays given by name replace those of the recording.
  """
  abstract, rows = _table(name)
  rows = [row for row in rows if not changed.keys().isdisjoint(row.theirs)]
  ours = dict(_rows(name, _state(name) | changed, rows))
  # On the device like all other arrays, so that JAX does not check them again.
  ours = _ours(name) | jax.device_put(ours)
  made = _outputs(name)(mapping.unflatten(abstract, ours))
  recorded = official.recording(name.removesuffix('_act'))
  return all(_close(name, made[key], recorded[key]) for key in made)


def _close(name, made, recorded):
  made = np.asarray(made)[: len(recorded)]
  if name == 'rqtransformer_unshared_vocabs':
    # Logits of missing codewords, which the official code does not mask.
    made = np.where(made < -1e8, recorded, made)
  return np.allclose(made, recorded, rtol=1e-5, atol=1e-5)


def _visible_row(name, theirs):
  """A row of an array that the recorded inputs use."""
  recorded = official.recording(name.removesuffix('_act'))
  if theirs == 'cond_emb.weight' and 'cond' in recorded:
    return int(recorded['cond'].flat[0])
  if theirs == 'tok_emb.weight':
    return int(recorded['codes'].flat[0])
  if 'quantizer.codebooks' in theirs:
    depth = int(theirs.split('.')[2])
    return int(recorded['rand_codes'][0, 0, 0, depth])
  return 0


@pytest.mark.parametrize('name', [*RQVAES, *RQTRANSFORMERS, *DISCRIMINATORS])
def test_a_change_of_any_array_is_seen_but_of_those_listed(name):
  state = _state(name)
  assert _as_recorded(name)
  unseen, listed = [], []
  for theirs, array in state.items():
    if theirs.endswith('offsets'):
      continue  # The conversion refuses any change of them.
    changed = _changed(theirs, array, _visible_row(name, theirs))
    alike = [n for n in state if state[n] is array or _is_copy(n, theirs, name)]
    if _as_recorded(name, **dict.fromkeys(alike, changed)):
      unseen.append(theirs)
    if _is_invisible(theirs, array):
      listed.append(theirs)
  assert unseen == listed


def _is_copy(a, b, name):
  """Whether two names belong to the same shared codebook."""
  shared = name in RQVAES and official.config(name).model.shared_codebook
  parts = [n.split('.') for n in (a, b)]
  return (
      shared
      and all(p[:2] == ['quantizer', 'codebooks'] for p in parts)
      and (parts[0][3:] == parts[1][3:])
  )


def test_a_change_of_any_weight_of_lpips_is_seen():
  state, rows = official.drawn_weights('lpips'), tables.lpips()
  assert sorted(n for row in rows for n in row.theirs) == sorted(state)
  recorded = official.recording('lpips')
  images = [official.images(recorded[name]) for name in 'xy']

  @jax.jit
  def distances(params):
    return lpips.LPIPS().apply({'params': params}, *images)

  def ours(rows, state):
    dtypes = {name: np.dtype('f4') for row in rows for name in row.ours}
    return jax.device_put(
        dict(mapping.to_ours(rows, state.__getitem__, dtypes))
    )

  whole = ours(rows, state)

  def is_as_recorded(**changed):
    moved = [row for row in rows if not changed.keys().isdisjoint(row.theirs)]
    flat = whole | ours(moved, state | changed)
    params = flax.traverse_util.unflatten_dict(flat, sep='/')['params']
    made = distances(params)
    return np.allclose(made, np.ravel(recorded['none']), rtol=1e-5, atol=1e-10)

  assert is_as_recorded()
  for name, array in state.items():
    # Some channels are zero for both images, so three elements are tried.
    assert not all(
        is_as_recorded(**{name: _changed(name, array, row)})
        for row in (0, len(array) // 2, len(array) - 1)
    ), name
