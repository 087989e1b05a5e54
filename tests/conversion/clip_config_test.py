"""The config.json of a CLIP gives the fields of the module, or is refused."""

import dataclasses

import pytest

from rq_jax.conversion import clip_config
from rq_jax.models import clip


def defaults():
  return {
      field.name: field.default
      for field in dataclasses.fields(clip.CLIP)
      if field.name not in ('parent', 'name')
  }


def test_a_file_that_leaves_all_out_is_vit_b_32():
  found = clip_config.fields({'model_type': 'clip'}, 'config.json')
  # Files that leave out the end token are younger than its correction.
  assert found == defaults() | {'end_id': 49407}


def test_the_end_token_of_the_original_files_is_the_largest():
  raw = {'model_type': 'clip', 'text_config': {'eos_token_id': 2}}
  assert clip_config.fields(raw, 'config.json') == defaults()


def test_the_fields_of_vit_l_14_at_336_pixels():
  raw = {
      'model_type': 'clip',
      'projection_dim': 768,
      'vision_config': {
          'hidden_size': 1024,
          'intermediate_size': 4096,
          'num_hidden_layers': 24,
          'num_attention_heads': 16,
          'image_size': 336,
          'patch_size': 14,
      },
      # Older files repeat the fields here, and these come first.
      'text_config': {'hidden_size': 5, 'eos_token_id': 2},
      'text_config_dict': {
          'hidden_size': 768,
          'intermediate_size': 3072,
          'num_attention_heads': 12,
      },
      'vision_config_dict': None,
  }
  assert clip_config.fields(raw, 'config.json') == defaults() | {
      'embed_dim': 768,
      'image_width': 1024,
      'image_mlp': 4096,
      'image_layers': 24,
      'image_heads': 16,
      'image_size': 336,
      'patch_size': 14,
      'text_width': 768,
      'text_mlp': 3072,
      'text_heads': 12,
  }


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'model_type': 'siglip'}, "model_type 'siglip'"),
        ({'text_config': [1]}, 'has no object text_config'),
        ({'projection_dim': '512'}, "gives '512' for embed_dim"),
        ({'vision_config': {'patch_size': 0}}, 'gives 0 for patch_size'),
        ({'vision_config': {'image_size': True}}, 'True for image_size'),
        ({'vision_config': {'num_channels': 4}}, 'num_channels=4, but only 3'),
        ({'text_config': {'layer_norm_eps': 1e-6}}, 'only 1e-05 is'),
        ({'text_config': {'hidden_act': 'gelu'}}, "'quick_gelu' and 'gelu'"),
        (
            {'text_config': {'num_attention_heads': 7}},
            '7 attention heads for a',
        ),
        ({'text_config': {'eos_token_id': [1, 2]}}, r'eos_token_id=\[1, 2\]'),
        ({'vision_config': {'patch_size': 300}}, 'patches of 300 pixels'),
    ],
    ids=str,
)
def test_other_networks_are_refused(changes, message):
  with pytest.raises(ValueError, match=f'x/config.json.*{message}'):
    clip_config.fields({'model_type': 'clip'} | changes, 'x/config.json')
