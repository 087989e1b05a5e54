"""Reads official `config.yaml` files into experiments; see `writer`, too.

Fields and defaults are those of rqvae/models/rqtransformer/configs.py and
rqvae/utils/config.py. Only the file that was released with a checkpoint
describes its architecture: the files in the official repository differ.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from rq_jax import config as config_lib
from rq_jax.config import Experiment
from rq_jax.config import sizes
from rq_jax.conversion.configs import arch_fields

_GELU = {'v1': 'exact', 'v2': 'sigmoid'}


@dataclasses.dataclass(frozen=True)
class Description:
  """The contents of an official config.

  Attributes:
    config: An experiment with the model and the fields that the file sets. It
      is incomplete and cannot be trained.
    discriminator: Whether the model was trained with a discriminator.
    unknown: Names of architecture fields that rq_jax does not know.
  """

  config: Experiment
  discriminator: bool
  unknown: tuple[str, ...]


def stage_of(raw: Any, source: str) -> int:
  """The stage that a parsed file describes, 1 or 2.

  Raises:
    ValueError: If it describes neither stage.
  """
  arch = raw.get('arch') if isinstance(raw, Mapping) else None
  kind = arch.get('type') if isinstance(arch, Mapping) else None
  stages = {'rq-vae': 1, 'rq-transformer': 2}
  if not isinstance(kind, str) or kind not in stages:
    raise ValueError(
        f"{source}: arch.type={ascii(kind)[:80]} must be 'rq-vae' or"
        " 'rq-transformer'."
        ' Use the config.yaml that was released with the weights.'
    )
  return stages[kind]


def read(raw: Mapping[str, Any], source: str) -> Description:
  """Reads a parsed `config.yaml`.

  Args:
    raw: The contents of the file.
    source: Path of the file, for errors.

  Raises:
    ValueError: If a field is missing, or has a value that rq_jax cannot build.
  """
  if stage_of(raw, source) == 1:
    return _read_stage1(raw, source)
  return _read_stage2(raw, source)


def _read_stage1(raw: Mapping[str, Any], source: str) -> Description:
  fields = arch_fields.Fields(raw['arch'], source)
  fields.must_be('hparams.bottleneck_type', 'rq')
  fields.must_be('ddconfig.double_z', False)
  fields.must_be('ddconfig.in_channels', 3)
  fields.must_be('ddconfig.out_ch', 3)
  restart = fields.get('hparams.restart_unused_codes', True)
  model = dict(
      image_size=fields.need('ddconfig.resolution'),
      channels=fields.need('ddconfig.ch'),
      channel_multipliers=fields.need('ddconfig.ch_mult'),
      res_blocks=fields.need('ddconfig.num_res_blocks'),
      attention_resolutions=fields.need('ddconfig.attn_resolutions'),
      z_channels=fields.need('ddconfig.z_channels'),
      dropout=fields.get('ddconfig.dropout', 0.0),
      embed_dim=fields.need('hparams.embed_dim'),
      code_shape=fields.need('hparams.code_shape'),
      codebook_size=fields.need('hparams.n_embed'),
      shared_codebook=fields.get('hparams.shared_codebook', False),
      decay=fields.get('hparams.decay', 0.99),
      # Codebooks are trained as in the official code.
      codebook_update='depth',
      restart='absolute' if restart else 'off',
      restart_threshold=1.0,
  )
  if (latent_shape := fields.get('hparams.latent_shape')) is not None:
    model |= _image_shape(model, latent_shape, source)
  if model['shared_codebook']:
    for name in ('codebook_size', 'decay'):
      model[name] = _one_for_all(model[name], name, source)
  against = _read_discriminator(raw)
  config = _parse(
      source,
      stage=1,
      data=_data(raw, model['image_size']),
      model=model,
      discriminator=against,
  )
  return Description(config, bool(against), fields.unknown())


def _image_shape(
    model: dict[str, Any], latent_shape: Any, source: str
) -> dict[str, Any]:
  """Size and attention of a model whose images are not square.

  The official code encodes images of any shape, and `resolution` only decides
  which levels have attention. The shape of the images follows from that of the
  features.

  Raises:
    ValueError: If the features have another shape than the model makes.
  """
  levels = range(len(model['channel_multipliers']))
  resolution, factor = model['image_size'], 2 ** (len(levels) - 1)
  side = resolution // factor
  match latent_shape:
    case [int(height), int(width), channels] if (
        height != width
        and channels == model['embed_dim']
        and resolution % factor == 0
    ):
      attending = model['attention_resolutions']
      shorter = min(height, width) * factor
      return dict(
          image_size=(height * factor, width * factor),
          # Ours are named by the shorter side of their feature maps.
          attention_resolutions=[
              shorter // 2**level
              for level in levels
              if resolution // 2**level in attending
          ],
      )
  expected = [side, side, model['embed_dim']]
  if latent_shape != expected:
    raise ValueError(
        f'{source}: arch.hparams.latent_shape={latent_shape} contradicts'
        f' arch.ddconfig and arch.hparams.embed_dim, which give {expected}. Use'
        ' the config.yaml that was released with the weights.'
    )
  return {}


def _one_for_all(value, name: str, source: str):
  """The number that a list for a shared codebook repeats."""
  if not isinstance(value, list | tuple):
    return value
  if len(set(value)) != 1:
    raise ValueError(
        f'{source}: {name}={list(value)} differs by depth, but the codebook is'
        ' shared. Use the config.yaml that was released with the weights.'
    )
  return value[0]


def _read_discriminator(raw: Mapping[str, Any]) -> dict[str, Any]:
  """Fields of the discriminator; empty if there is no discriminator."""
  section = raw.get('gan') or {}
  arch = (section.get('disc') or {}).get('arch')
  if arch is None:
    return {}
  return dict(
      channels=arch.get('ndf', 64),
      layers=arch.get('num_layers', 3),
      norm='act' if arch.get('use_actnorm', False) else 'batch',
  )


def _read_stage2(raw: Mapping[str, Any], source: str) -> Description:
  fields = arch_fields.Fields(raw['arch'], source)
  # Released files have this one under `dataset`, not where the official code
  # reads it.
  shipped = (raw.get('dataset') or {}).get('vocab_size')
  codebook_size = fields.get('vocab_size', shipped) or fields.need('vocab_size')
  length = max(fields.get('block_size_cond', 0), 1)
  conditions = max(fields.get('vocab_size_cond', 0), 1)
  depth_layers = fields.need('head.n_layer')
  if depth_layers:
    for name in (
        'n_head',
        'mlp_bias',
        'attn_bias',
        'attn_pdrop',
        'resid_pdrop',
    ):
      _same_in_both(fields, name, source)
  else:
    # The block is not built, so its fields are read and ignored.
    for name in ('n_head', 'gelu', *_BLOCK_DEFAULTS):
      fields.get(f'head.block.{name}')
  model = dict(
      code_shape=fields.need('block_size'),
      codebook_size=codebook_size,
      embed_dim=fields.get('input_embed_dim', fields.need('embed_dim')),
      width=fields.need('embed_dim'),
      heads=fields.need('body.block.n_head'),
      spatial_layers=fields.need('body.n_layer'),
      depth_layers=depth_layers,
      num_classes=conditions if length == 1 and conditions > 1 else 0,
      text_vocab_size=conditions if length > 1 else 0,
      text_length=length if length > 1 else 0,
      spatial_input=_input(fields.get('input_emb_vqvae', False)),
      depth_input=_input(fields.get('head_emb_vqvae', False)),
      shared_embedding=fields.get('shared_tok_emb', False),
      cumulative_depth_input=fields.get('cumsum_depth_ctx', False),
      shared_classifier=fields.get('shared_cls_emb', False),
      attention_bias=_block(fields, 'body', 'attn_bias'),
      mlp_bias=_block(fields, 'body', 'mlp_bias'),
      gelu=_gelu(fields, 'body', source),
      depth_gelu=_gelu(fields, 'head', source) if depth_layers else None,
      dropout=float(_block(fields, 'body', 'resid_pdrop')),
      attention_dropout=float(_block(fields, 'body', 'attn_pdrop')),
      embedding_dropout=float(fields.get('embd_pdrop', 0.0)),
  )
  if model['depth_gelu'] == model['gelu']:
    model['depth_gelu'] = None
  config = _parse(source, stage=2, data=_data(raw, 256), model=model)
  return Description(config, False, fields.unknown())


def _parse(source: str, **raw: Any) -> Experiment:
  """The experiment with these fields.

  Raises:
    ValueError: If its model cannot be built; names the file `source`.
  """
  try:
    # Fields that the official code lacks keep its behaviour.
    return config_lib.parse_stored(raw)
  except ValueError as error:
    what = str(error).partition('. Change ')[0]
    raise ValueError(
        f'{source} describes a model that cannot be built: {what}. Use the'
        ' config.yaml that was released with the weights.'
    ) from error


_BLOCK_DEFAULTS = {
    'mlp_bias': True,
    'attn_bias': True,
    'attn_pdrop': 0.0,
    'resid_pdrop': 0.1,
}


def _block(fields: arch_fields.Fields, stack: str, name: str) -> Any:
  return fields.get(f'{stack}.block.{name}', _BLOCK_DEFAULTS.get(name))


def _same_in_both(fields: arch_fields.Fields, name: str, source: str) -> None:
  body, head = (_block(fields, stack, name) for stack in ('body', 'head'))
  if body != head:
    raise ValueError(
        f'{source}: arch.body.block.{name}={body}, but arch.head.block.{name}='
        f'{head}. rq_jax builds both transformers with the same value, so this'
        ' checkpoint cannot be converted.'
    )


def _gelu(fields: arch_fields.Fields, stack: str, source: str) -> str:
  fields.must_be(f'{stack}.block.gelu', *_GELU)
  return _GELU[fields.get(f'{stack}.block.gelu', 'v1')]


def _input(from_codebook: bool) -> str:
  return 'codebook' if from_codebook else 'learned'


def _data(
    raw: Mapping[str, Any], image_size: sizes.ImageSize
) -> dict[str, Any]:
  """The dataset of a checkpoint, under its official name."""
  dataset = raw.get('dataset') or {}
  name = dataset.get('type') or dataset.get('dataset') or 'unknown'
  return dict(source='image_folder', path=str(name), image_size=image_size)
