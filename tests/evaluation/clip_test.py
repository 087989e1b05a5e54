"""A converted CLIP: pixels, texts, batches and devices."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tokenizers
from tokenizers import models
from tokenizers import pre_tokenizers

from rq_jax.checkpoints import networks
from rq_jax.distributed import partitioning
from rq_jax.evaluation import clip
from tests import clip_inputs
from tests import clip_recorded

# The recorded model has 99 tokens, and its end token is 50.
WORDS = {
    '<|startoftext|>': 90,
    '<|endoftext|>': 50,
    'a': 3,
    'cat': 4,
    'dog': 98,
}


def write_tokenizer(path, words=None):
  vocab = words or WORDS
  tokenizer = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token='a'))
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  tokenizer.save(str(path))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('clip')
  module, variables = clip_recorded.model('tiny')
  fields = dataclasses.asdict(module)
  del fields['parent'], fields['name']
  networks.write(
      folder,
      'clip',
      variables,
      sources=[{'file': 'model.safetensors', 'sha256': '0' * 64}],
      fields=fields,
  )
  write_tokenizer(folder / clip.TOKENIZER)
  return folder


@pytest.fixture(scope='module')
def restored(folder):
  return clip.restore(folder)


def pictures(count):
  return np.stack(
      [clip_inputs.picture(40, 52)[i % 4 : i % 4 + 36] for i in range(count)]
  )


def applied(restored, method, values):
  apply = jax.jit(restored.model.apply, static_argnames='method')
  return apply(restored.variables, values, method=method)


@pytest.mark.parametrize('shape', clip_inputs.SHAPES, ids=str)
def test_pixels_are_those_of_torchvision(shape):
  image = clip.crop(clip_inputs.picture(*shape), size=clip_inputs.CROP)
  name = f'pixels/{shape[0]}x{shape[1]}'
  recorded = clip_recorded.arrays()
  np.testing.assert_array_equal(image, recorded[f'{name}/torchvision'])
  # A margin of 3 pixels is the only one that Hugging Face crops elsewhere.
  same = np.array_equal(image, recorded[f'{name}/huggingface'])
  assert same == (shape != (64, 70))


def test_scaled_pixels_are_those_of_hugging_face():
  name = 'pixels/37x53'
  image = clip.crop(clip_inputs.picture(37, 53), size=clip_inputs.CROP)
  scaled = clip.scaled(image)[:2]
  assert scaled.dtype == np.float32
  np.testing.assert_allclose(
      scaled, clip_recorded.arrays()[f'{name}/scaled'], rtol=1e-6, atol=1e-6
  )


def test_images_are_embedded_one_by_one(restored):
  images = pictures(3)
  found = restored.image(images)
  assert found.dtype == np.float32 and found.shape == (3, 16)
  pixels = [clip.crop(image, size=32) for image in images]
  expected = applied(restored, 'image', clip.scaled(np.stack(pixels)))
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  mixed = restored.image([images[0], images[1][:34], images[2]])
  np.testing.assert_array_equal(mixed[[0, 2]], found[[0, 2]])


def test_texts_are_embedded_with_their_ends(restored):
  found = restored.text(['a cat', 'dog'])
  tokens = np.full((2, 12), 50)
  tokens[0, :3], tokens[1, :2] = [90, 3, 4], [90, 98]
  expected = applied(restored, 'text', tokens)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_text_that_is_cut_is_reported(restored, capfd, caplog):
  whole = 'a ' * 10
  assert restored.text([whole]).shape == (1, 16)
  assert not caplog.text
  found = restored.text([whole, whole + 'cat dog'])
  assert '1 of 2 texts have more than 10 tokens' in caplog.text
  np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_more_images_than_a_batch_over_two_devices(folder, restored):
  images = pictures(150)
  mesh = partitioning.make_mesh({'data': 2}, devices=jax.devices()[:2])
  split = clip.restore(folder, mesh)
  found = split.image(images)
  assert found.shape == (150, 16)
  np.testing.assert_allclose(found, restored.image(images), rtol=1e-5)
  # Every fourth image is the same.
  np.testing.assert_allclose(found[:4], found[144:148], rtol=1e-5)


def test_no_images_have_no_embeddings(restored):
  assert restored.image(pictures(1)[:0]).shape == (0, 16)


def test_the_description_has_what_embeddings_depend_on(restored):
  found = json.loads(json.dumps(restored.description))
  assert found['fingerprint'] == restored.fingerprint
  assert found['sources'][0]['file'] == 'model.safetensors'
  assert found['image_size'] == 32
  assert found['preprocessing'] == 'pillow bicubic 32, center crop'


@pytest.mark.parametrize(
    'image',
    [np.zeros((5, 5, 3), np.float32), np.zeros((5, 5), np.uint8)],
    ids=['float', 'grey'],
)
def test_images_of_another_kind_are_refused(restored, image):
  with pytest.raises(ValueError, match=r'must be uint8\[Y, X, 3\]'):
    restored.image([image])


def test_texts_need_a_tokenizer(restored):
  without = dataclasses.replace(restored, tokenizer_file=None)
  with pytest.raises(ValueError, match='has no tokenizer.json.*convert it'):
    without.text(['a cat'])


@pytest.mark.parametrize(
    ('words', 'found'),
    [
        (WORDS | {'dog': 99}, 'tokens up to 99 and ends texts with 50'),
        (WORDS | {'<|endoftext|>': 51}, 'up to 98 and ends texts with 51'),
    ],
    ids=['more', 'other'],
)
def test_a_tokenizer_of_another_model_is_refused(
    restored, tmp_path, words, found
):
  write_tokenizer(tmp_path / clip.TOKENIZER, words)
  other = dataclasses.replace(
      restored, tokenizer_file=tmp_path / clip.TOKENIZER
  )
  with pytest.raises(ValueError, match=f'{found}.* do not belong together'):
    other.text(['a cat'])


@pytest.mark.parametrize('end', [98, 51])
def test_without_a_known_end_the_largest_token_ends_texts(
    restored, tmp_path, end
):
  words = WORDS | {'dog': 50 if end == 98 else 98, '<|endoftext|>': end}
  write_tokenizer(tmp_path / clip.TOKENIZER, words)
  other = dataclasses.replace(
      restored,
      model=restored.model.clone(end_id=None),
      tokenizer_file=tmp_path / clip.TOKENIZER,
  )
  if end == 98:
    assert other.tokenizer.end_id == 98
  else:
    with pytest.raises(ValueError, match='ends texts with 51.*looks for 98'):
      other.text(['a cat'])
