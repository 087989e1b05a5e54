"""Advice about trained RQ-VAEs: warnings, and the commands of stage 2."""

import pytest

from rq_jax.jobs.inspect import tokenizer_advice


def described(**changes):
  """Figures of an RQ-VAE without problems."""
  split = {
      'images': 1000,
      'of': 5000,
      'codes': 64_000,
      'mse': [0.04, 0.02],
      'features': {'smallest': -5.0, 'largest': 5.0, 'rms': 1.0},
  }
  figures = {
      'tokenizer': 'runs/my model',
      'other_images': False,
      'source': 'image_folder',
      'path': 'images',
      'codewords': 100,
      'used': 0.9,
      'splits': {'train': split, 'test': {**split, 'mse': [0.04, 0.03]}},
      'temperature': _temperature([5.0, 9.0]),
  }
  return figures | changes


def _temperature(by_depth):
  return {
      'suggested': 0.25,
      'codewords': [100, 100],
      'perplexity': [
          {'multiple': 0.1, 'temperature': 0.025, 'by_depth': [1.0, 1.0]},
          {'multiple': 1.0, 'temperature': 0.25, 'by_depth': by_depth},
      ],
  }


def _with(split, **changes):
  found = described()
  found['splits'][split] = found['splits'][split] | changes
  return found


def test_an_rqvae_without_problems_has_no_warnings():
  assert tokenizer_advice.warnings(described()) == []


@pytest.mark.parametrize(
    ('found', 'words'),
    [
        (described(used=0.09), 'Only 9.0% of the 100 codewords'),
        (_with('test', mse=[0.1, 0.06]), '3.0 times the loss on training'),
        (described(temperature=_temperature([1.0, 1.05])), 'nearly one-hot'),
        (described(temperature=_temperature([99.0, 98.0])), 'nearly uniform'),
        (
            _with(
                'train', features=dict(smallest=-7e4, largest=9.0, rms=100.0)
            ),
            'from -70000 to 9, but caches',
        ),
        (
            _with(
                'train', features=dict(smallest=-1e-6, largest=1e-6, rms=1e-6)
            ),
            'features is only 1e-06',
        ),
    ],
)
def test_each_problem_has_one_warning(found, words):
  (sentence,) = tokenizer_advice.warnings(found)
  assert words in sentence


@pytest.mark.parametrize(
    ('images', 'size'),
    [(9999, 'small'), (10_000, 'base'), (10**6, 'large')],
)
def test_the_commands_encode_and_train_with_the_temperature(images, size):
  text = tokenizer_advice.commands(_with('train', of=images))
  encode, train = text.replace(' \\\n   ', '').splitlines()
  assert encode == (
      "python -m rq_jax encode '--tokenizer=runs/my model' --out=cache/mine"
  )
  assert f'rqtransformer.py:{size} ' in train
  assert '--config.loss.temperature=0.25' in train


def test_images_that_are_not_those_of_the_run_are_encoded_by_name():
  assert (
      '--config.data'
      not in tokenizer_advice.commands(described()).split('train')[0]
  )
  text = tokenizer_advice.commands(described(other_images=True))
  encode = text.split('python -m rq_jax train')[0].split()
  assert '--config.data.path=images' in encode
  assert '--config.data.source=image_folder' in encode
