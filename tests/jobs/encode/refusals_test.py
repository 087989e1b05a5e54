"""Data that cannot be encoded, or that differ after a restart, are refused."""

import numpy as np
from PIL import Image
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.checkpoints import stored
from rq_jax.jobs.encode import job as encode
from tests import tiny

REFUSED = [
    (
        dict(source='features', path='cache'),
        "source='features' has no images.*'digits' or 'image_folder'.*"
        '--config.data.source',
    ),
    (
        dict(source='image_folder'),
        'path=None is not a folder.* Change --config.data.path',
    ),
    (dict(image_size=32), 'image_size=32, but .* 16x16.*data.image_size=16'),
]


@pytest.mark.parametrize(('fields', 'words'), REFUSED)
def test_data_that_cannot_be_encoded_are_refused(fields, words, tmp_path):
  data = tiny.stage1_config(data=fields).data
  out = tmp_path / 'made' / 'cache'
  with pytest.raises(ValueError, match=words):
    encode.encode(tiny.untrained_tokenizer(), data, str(out))
  assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize(('fields', 'words'), REFUSED)
def test_data_are_judged_before_the_tokenizer_is_restored(
    fields, words, tmp_path
):
  """The folder of the tokenizer has a config, but no weights."""
  tokenizer, out = tmp_path / 'tokenizer', tmp_path / 'made' / 'cache'
  tokenizer.mkdir()
  stored.write_config(tokenizer, tiny.stage1_config())
  data = tiny.stage1_config(data=fields).data
  with pytest.raises(ValueError, match=words):
    encode.run(str(tokenizer), data, str(out))
  assert not (tmp_path / 'made').exists()
  with pytest.raises(ValueError, match='checkpoint'):
    encode.run(str(tokenizer), tiny.stage1_config().data, str(out))


@pytest.mark.parametrize('on_error', ['fail', 'skip'])
def test_a_broken_image_is_refused_also_where_training_skips_it(
    tmp_path, on_error
):
  images = tmp_path / 'images'
  images.mkdir()
  for i in range(5):
    Image.new('RGB', (16, 16)).save(images / f'{i}.png')
  (images / '1.png').write_bytes(b'')
  data = tiny.stage1_config(
      data=dict(source='image_folder', path=str(images), on_error=on_error)
  ).data
  out = tmp_path / 'cache'
  with pytest.raises(ValueError) as error:
    encode.encode(tiny.untrained_tokenizer(), data, str(out))
  assert str(error.value).startswith(f'{images}/1.png is not a JPEG, PNG or')
  assert 'prepare --on_error=skip' in str(error.value)
  assert not list(out.rglob('meta.json'))


def test_a_cache_goes_on_with_the_same_files_elsewhere_and_no_others(
    tmp_path, monkeypatch, capsys
):
  images, mounted = tmp_path / 'images', tmp_path / 'mounted'
  images.mkdir()
  for i in range(5):
    Image.new('RGB', (16, 16)).save(images / f'{i}.png')
  (images / '._0.png').write_text('not an image')
  tokenizer = tiny.untrained_tokenizer()
  batches = []

  def features(of, images):
    batches.append(len(images))
    if len(batches) == 2:
      raise RuntimeError('A device was lost.')
    return np.zeros((len(images), *of.model.features_shape))

  monkeypatch.setattr(tokenizer_lib, 'features_known', features)

  def run(path, **fields):
    fields |= dict(source='image_folder', path=str(path))
    data = tiny.stage1_config(data=fields).data
    return encode.encode(tokenizer, data, str(tmp_path / 'cache'))

  with pytest.raises(RuntimeError):
    run(images)
  images.rename(mounted)
  (mounted / '2.png').rename(mounted / '20.png')
  with pytest.raises(ValueError, match='begun with splits.train.files='):
    run(mounted)
  with pytest.raises(ValueError, match='begun with data.exif_rotation=true'):
    run(mounted, exif_rotation=False)
  (mounted / '20.png').rename(mounted / '2.png')
  capsys.readouterr()
  assert f'5 images are in {tmp_path / "cache"}' in run(mounted)
  ignored = f'Ignored in {mounted}: hidden files and folders (1).'
  assert capsys.readouterr().out.count(ignored) == 1
  assert len(batches) == 3  # One for each split, and the one that failed.
