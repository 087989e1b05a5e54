"""Writes official `config.yaml` files of our experiments; see `reader`, too."""

from collections.abc import Mapping
from typing import Any

from rq_jax.config import Experiment
from rq_jax.config import RQTransformerConfig
from rq_jax.config import RQTransformerExperiment
from rq_jax.config import RQVAEConfig
from rq_jax.config import RQVAEExperiment
from rq_jax.config import sizes

_GELU = {'exact': 'v1', 'sigmoid': 'v2'}


def obstacles(*models: RQVAEConfig | RQTransformerConfig) -> tuple[str, ...]:
  """All reasons why the official code cannot build some models, as sentences.

  Each sentence names the fields, their values, and the limit of the official
  code. The tuple is empty if the official code can build all models.
  """
  return tuple(reason for model in models for reason in _obstacles(model))


def _obstacles(model: RQVAEConfig | RQTransformerConfig) -> list[str]:
  found = []
  if isinstance(model, RQTransformerConfig):
    if model.null_class and model.text_length:
      found.append(
          'The RQ-Transformer has config.model.null_class=True and'
          f' config.model.text_length={model.text_length}, but the official'
          ' code has no null class in text models.'
      )
    return found
  if model.norm_groups != 32:
    found.append(
        f'The RQ-VAE has config.model.norm_groups={model.norm_groups}, but the'
        ' official code has 32 groups in every GroupNorm.'
    )
  if _one_number(model.res_blocks) is None:
    found.append(
        f'The RQ-VAE has config.model.res_blocks={model.res_blocks}, but the'
        ' official code has the same number of residual blocks in every level.'
    )
  return found


def check(*models: RQVAEConfig | RQTransformerConfig) -> None:
  """Checks that the official code can build all of these models.

  Raises:
    ValueError: If it cannot; lists all reasons.
  """
  if found := obstacles(*models):
    raise ValueError(
        f'--to=official cannot export this model. {" ".join(found)} Use'
        ' --to=safetensors, which exports any model.'
    )


def write(
    config: Experiment,
    *,
    discriminator: bool = False,
    sampling: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """The contents of an official `config.yaml` for the model of an experiment.

  Args:
    config: A checked experiment.
    discriminator: Whether to describe its discriminator, too.
    sampling: Sampling options of an RQ-Transformer: 'temperature', 'top_k' and
      'top_p'; by default, all codes are drawn with their probabilities.

  Raises:
    ValueError: If the official code cannot build the model.
  """
  check(config.model)
  if isinstance(config, RQVAEExperiment):
    return _write_stage1(config, discriminator)
  return _write_stage2(config, sampling or {})


def _write_stage1(
    config: RQVAEExperiment, discriminator: bool
) -> dict[str, Any]:
  model = config.model
  raw = {
      'dataset': _dataset(config),
      'arch': {
          'type': 'rq-vae',
          'code_hier': 1,
          'hparams': {
              'bottleneck_type': 'rq',
              'embed_dim': model.embed_dim,
              'n_embed': _plain(model.codebook_size),
              'latent_shape': [*model.feature_map, model.embed_dim],
              'code_shape': list(model.code_shape),
              'shared_codebook': model.shared_codebook,
              'decay': _plain(model.decay),
              'restart_unused_codes': model.restart != 'off',
              'loss_type': config.loss.reconstruction,
              'latent_loss_weight': config.loss.commitment_weight,
          },
          'ddconfig': {
              'double_z': False,
              'z_channels': model.z_channels,
              # It decides which levels have attention, as the shorter side.
              'resolution': min(sizes.pair(model.image_size)),
              'in_channels': 3,
              'out_ch': 3,
              'ch': model.channels,
              'ch_mult': list(model.channel_multipliers),
              'num_res_blocks': _one_number(model.res_blocks),
              'attn_resolutions': list(model.attention_resolutions),
              'dropout': model.dropout,
          },
          'checkpointing': model.remat != 'none',
      },
  }
  if discriminator:
    raw['gan'] = {
        'disc': {
            'arch': {
                'in_channels': 3,
                'num_layers': config.discriminator.layers,
                'use_actnorm': config.discriminator.norm == 'act',
                'ndf': config.discriminator.channels,
            }
        }
    }
  return raw


def _write_stage2(
    config: RQTransformerExperiment, sampling: Mapping[str, Any]
) -> dict[str, Any]:
  model = config.model
  # A null class becomes one more class, the last one.
  classes = max(model.num_classes, model.text_vocab_size, 1) + model.null_class
  block = {
      'n_head': model.heads,
      'mlp_bias': model.mlp_bias,
      'attn_bias': model.attention_bias,
      'attn_pdrop': model.attention_dropout,
      'resid_pdrop': model.dropout,
  }
  body_gelu, head_gelu = model.gelu, model.depth_gelu or model.gelu
  vocab_size = _plain(model.codebook_size)
  return {
      'dataset': _dataset(config) | {'vocab_size': vocab_size},
      'arch': {
          'type': 'rq-transformer',
          'block_size': list(model.code_shape),
          'embed_dim': model.width,
          'input_embed_dim': model.embed_dim,
          'vocab_size': vocab_size,
          'shared_tok_emb': model.shared_embedding,
          'shared_cls_emb': model.shared_classifier,
          'input_emb_vqvae': model.spatial_input == 'codebook',
          'head_emb_vqvae': model.depth_input == 'codebook',
          'cumsum_depth_ctx': model.cumulative_depth_input,
          'vocab_size_cond': classes,
          'block_size_cond': max(model.text_length, 1),
          'embd_pdrop': model.embedding_dropout,
          'body': {
              'n_layer': model.spatial_layers,
              'block': block | {'gelu': _GELU[body_gelu]},
          },
          'head': {
              'n_layer': model.depth_layers,
              'block': block | {'gelu': _GELU[head_gelu]},
          },
      },
      'sampling': {
          'temp': sampling.get('temperature', 1.0),
          'top_k': sampling.get('top_k', _largest(vocab_size)),
          'top_p': sampling.get('top_p', 1.0),
      },
  }


def _dataset(config: Experiment) -> dict[str, Any]:
  return {'type': config.data.path or config.data.source}


def _plain(value: Any) -> Any:
  """A number, or a list in place of a tuple, which YAML does not have."""
  return list(value) if isinstance(value, tuple) else value


def _one_number(value: int | tuple[int, ...]) -> int | None:
  """The number that a tuple repeats; None if it holds several."""
  if isinstance(value, int):
    return value
  return value[0] if len(set(value)) == 1 else None


def _largest(value: int | list[int]) -> int:
  return max(value) if isinstance(value, list) else value
