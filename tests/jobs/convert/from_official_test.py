"""Official checkpoints are converted without losing a bit."""

import re
import tarfile

import numpy as np
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.conversion.torch_format import writing
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.convert import to_official
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from rq_jax.tokenizer import Tokenizer
from tests import official
from tests.conversion import checkpoints

pytestmark = pytest.mark.slow

CLASS = 'rqtransformer_unshared'


def _stage1_archive(folder, state=None, config=None, **others):
  config = config or checkpoints.raw('rqvae_shared')
  state = state or official.weights('rqvae_shared')
  checkpoints.write(folder, config, state, **others)
  return folder


def test_a_converted_prior_gives_the_official_logits(converted):
  recorded = official.recording(CLASS)
  sampler = Sampler.restore(str(converted), verbose=False)
  logits = sampler.logits(recorded['codes'], labels=recorded['cond'][:, 0])
  np.testing.assert_allclose(logits, recorded['logits'], rtol=1e-5, atol=1e-5)


def test_its_tokenizer_comes_along(converted):
  tokenizer = Tokenizer.restore(str(converted / 'tokenizer'), verbose=False)
  state = checkpoints.partner()
  codes = np.random.default_rng(0).integers(0, 64, (2, 4, 4, 4))
  words = state['quantizer.codebooks.0.weight'][codes]
  made = tokenizer.model.apply(tokenizer.variables, codes, method='embed')
  np.testing.assert_allclose(made, words.sum(-2), rtol=1e-5, atol=1e-6)


def test_a_packed_archive_gives_the_same(archive, converted, tmp_path, capsys):
  packed = tmp_path / 'imagenet.tar.gz'
  with tarfile.open(packed, 'w:gz', compresslevel=1) as tar:
    tar.add(archive, 'imagenet')
  from_official.from_official(str(packed), str(tmp_path / 'new' / 'dst'))
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['dst']
  said = capsys.readouterr().out
  for path in (converted / 'tokenizer', converted):
    restored = (
        Sampler.restore(str(path), verbose=False).prior_variables
        if path == converted
        else Tokenizer.restore(str(path), verbose=False).variables
    )
    assert inference_copy.fingerprint(restored) in said
  assert said.count('Every array equals its source, bit by bit.') == 2


def test_a_prior_alone_takes_a_converted_tokenizer(
    archive, converted, tmp_path
):
  src = str(archive / 'stage2' / 'model.pt')
  with pytest.raises(ValueError, match='without its RQ-VAE.*--tokenizer'):
    from_official.from_official(src, str(tmp_path / 'dst'))
  assert list(tmp_path.iterdir()) == []
  tokenizer = converted / 'tokenizer'
  from_official.from_official(
      src, str(tmp_path / 'dst'), tokenizer=str(tokenizer)
  )
  sampler = Sampler.restore(str(tmp_path / 'dst'), verbose=False)
  given = Tokenizer.restore(str(tokenizer), verbose=False)
  assert sampler.tokenizer.fingerprint == given.fingerprint


def test_a_tokenizer_for_a_tokenizer_is_refused(archive, converted, tmp_path):
  with pytest.raises(ValueError, match='Leave out --tokenizer'):
    from_official.from_official(
        str(archive / 'stage1'),
        str(tmp_path / 'dst'),
        tokenizer=str(converted / 'tokenizer'),
    )


def test_a_prior_as_tokenizer_is_refused(archive, converted, tmp_path):
  with pytest.raises(ValueError, match='stage'):
    from_official.from_official(
        str(archive / 'stage2'),
        str(tmp_path / 'dst'),
        tokenizer=str(converted),
    )
  assert list(tmp_path.iterdir()) == []


def test_averaged_parameters_are_taken_on_request(tmp_path, caplog):
  state = official.weights('rqvae_shared')
  averages = {n: a for n, a in state.items()}
  averages['encoder.conv_in.bias'] = state['encoder.conv_in.bias'] + 1
  src = _stage1_archive(tmp_path / 'src', state_dict_ema=averages)
  from_official.from_official(str(src), str(tmp_path / 'dst'), ema=True)
  assert 'never updates its averaged parameters' in caplog.text
  params = Tokenizer.restore(str(tmp_path / 'dst'), verbose=False).variables
  np.testing.assert_array_equal(
      params['params']['encoder']['conv_in']['conv']['bias'],
      averages['encoder.conv_in.bias'],
  )


def test_the_options_of_the_archive_become_the_default(converted):
  sampler = Sampler.restore(str(converted), verbose=False)
  assert sampler.sampling == Sampling(temperature=1.0, top_k=64, top_p=0.95)


@pytest.mark.parametrize(
    ('section', 'words'),
    [
        ({'temp': 1.0, 'top_k': 0}, 'cannot be used: top_k=0 must be a whole'),
        (
            {'top_p': [0.9, 0.8]},
            r'cannot be used: top_p=\(0.9, 0.8\) has 2 num',
        ),
        ({'cfg': 3.0}, "cannot be used: .* argument 'cfg'"),
        (None, None),
        ('none', None),
    ],
)
def test_options_that_cannot_be_used_are_left_out(
    section, words, converted, tmp_path, caplog
):
  config = checkpoints.raw(CLASS) | {'sampling': section}
  src = tmp_path / 'src'
  file = checkpoints.write(src, config, official.weights(CLASS))
  tokenizer = str(converted / 'tokenizer')
  dst = str(tmp_path / 'dst')
  from_official.from_official(str(file), dst, tokenizer=tokenizer)
  assert Sampler.restore(dst, verbose=False).sampling == Sampling()
  assert bool(caplog.text) == bool(words)
  assert re.search(words or '', caplog.text)


def test_averages_that_are_not_there_are_missed(archive, tmp_path):
  message = r"no averaged parameters; it holds 'state_dict'. Leave out"
  with pytest.raises(ValueError, match=message):
    from_official.from_official(
        str(archive / 'stage1'), str(tmp_path / 'dst'), ema=True
    )
  assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(archive, converted, tmp_path):
  (tmp_path / 'dst').mkdir()
  (tmp_path / 'dst' / 'mine').write_text('precious')
  dst = str(tmp_path / 'dst')
  with pytest.raises(ValueError, match='exists already'):
    from_official.from_official(str(archive / 'stage1'), dst)
  with pytest.raises(ValueError, match='exists already'):
    to_official.to_official(str(converted), dst)
  assert (tmp_path / 'dst' / 'mine').read_text() == 'precious'


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad, tmp_path):
  state = dict(official.weights('rqvae_shared'))
  state['decoder.conv_out.bias'] = np.float32([0, bad, 0])
  src = _stage1_archive(tmp_path / 'src', state)
  with pytest.raises(
      ValueError, match='params/to_rgb/conv/bias has .*not finite'
  ):
    from_official.from_official(str(src), str(tmp_path / 'dst'))
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_weights_that_overflow_are_refused(tmp_path):
  state = dict(official.weights('rqvae_shared'))
  state['decoder.conv_out.weight'] = np.full((3, 32, 3, 3), 3e38, np.float32)
  src = _stage1_archive(tmp_path / 'src', state)
  with pytest.raises(ValueError, match='reconstruction of a fixed image'):
    from_official.from_official(str(src), str(tmp_path / 'dst'))
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_names_that_do_not_fit_are_all_listed(tmp_path):
  state = dict(official.weights('rqvae_shared'))
  state['extra'] = state.pop('quant_conv.bias')
  state['decoder.conv_out.bias'] = np.zeros(4, np.float32)
  src = _stage1_archive(tmp_path / 'src', state)
  message = (
      r'1 missing: quant_conv.bias; 1 unexpected: extra; 1 of another shape:'
      r' decoder.conv_out.bias \(is \[4\], should be \[3\]\)'
  )
  with pytest.raises(ValueError, match=message):
    from_official.from_official(str(src), str(tmp_path / 'dst'))


@pytest.mark.parametrize('tree', [[1], {'state_dict': 3}, {'model': {}}])
def test_a_file_without_a_model_is_refused(tree, tmp_path):
  src = _stage1_archive(tmp_path / 'src')
  writing.write(src / 'model.pt', tree)
  with pytest.raises(ValueError, match='must hold a state dict'):
    from_official.from_official(str(src), str(tmp_path / 'dst'))


def test_fields_that_mean_nothing_are_reported(tmp_path, capsys):
  config = checkpoints.raw('rqvae_shared')
  config['arch']['hparams']['fancy'] = True
  src = _stage1_archive(tmp_path / 'src', config=config)
  from_official.from_official(str(src), str(tmp_path / 'dst'))
  said = capsys.readouterr().out
  assert 'config.yaml are unknown and ignored: arch.hparams.fancy.' in said
  assert re.search(r'RQ-VAE [0-9a-f]{12,}: reconstructs a color ramp', said)


def test_one_wrong_bit_on_the_way_here_is_found(tmp_path, monkeypatch):
  write = inference_copy.write
  monkeypatch.setattr(
      inference_copy,
      'write',
      lambda path, config, variables, **more: write(
          path, config, checkpoints.one_changed(variables), **more
      ),
  )
  src = _stage1_archive(tmp_path / 'src')
  with pytest.raises(ValueError, match=r'differs from .*model\.pt'):
    from_official.from_official(str(src), str(tmp_path / 'dst'))
  assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_the_folder_of_a_lost_conversion_is_used_again(archive, tmp_path):
  partial = tmp_path / 'dst.partial'
  partial.mkdir()
  (partial / 'left').write_text('over')
  from_official.from_official(str(archive / 'stage1'), str(tmp_path / 'dst'))
  assert [p.name for p in tmp_path.iterdir()] == ['dst']
