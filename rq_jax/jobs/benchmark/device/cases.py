"""The experiments and sizes of a device check, and small ones to try it."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from rq_jax import config as config_lib
from rq_jax.config import Experiment
from rq_jax.config import RQTransformerConfig
from rq_jax.config import RQTransformerExperiment
from rq_jax.config import RQVAEConfig
from rq_jax.config import RQVAEExperiment

_CONFIGS = pathlib.Path(__file__).resolve().parents[4] / 'configs/imagenet256'
_STAGE1 = 'rqvae.py'
_STAGE2 = 'rqtransformer.py:1.4b'
_PRIOR = dict(spatial_layers=1, depth_layers=1, width=32, heads=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cases:
  """What a check measures.

  Attributes:
    scale: Divides the sizes of arrays that measure constants; None for the
      default.
    stage1: Changes of the RQ-VAE on ImageNet, by dotted name.
    stage2: Changes of the RQ-Transformer of 1.4 billion parameters.
    dtype: Type of weights and computation of the sampler.
    batches: Groups of batch sizes of the sampler. The programs of a group are
      compiled at the same time.
    kernels: What computes the steps of the sampler, several of `choice.KINDS`.
    compared_kernels: The kind of kernels that are compared with their plain
      forms, 'pallas' or 'interpret'.
    rows: Numbers of rows of kernels.
    copies: Copies of each kernel in a program, with weights of their own, which
      no cache holds.
    calls: Calls of the program of a kernel for each timing.
    greedy: Changes of the RQ-Transformer whose greedy codes are compared.
    greedy_batch: Number of code maps that are compared.
    repeats: Number of timed calls.
  """

  scale: int | None
  stage1: Mapping[str, Any]
  stage2: Mapping[str, Any]
  dtype: str
  batches: tuple[tuple[int, ...], ...]
  kernels: tuple[str, ...]
  compared_kernels: str
  rows: tuple[int, ...]
  copies: int
  calls: int
  greedy: Mapping[str, Any]
  greedy_batch: int
  repeats: int

  @property
  def rqvae(self) -> RQVAEExperiment:
    """The experiment of stage 1."""
    loaded = _load(_STAGE1, self.stage1)
    assert isinstance(loaded, RQVAEExperiment)
    return loaded

  @property
  def rqtransformer(self) -> RQTransformerExperiment:
    """The experiment of stage 2."""
    loaded = _load(_STAGE2, self.stage2)
    assert isinstance(loaded, RQTransformerExperiment)
    return loaded

  @property
  def greedy_prior(self) -> RQTransformerConfig:
    """The RQ-Transformer whose greedy codes are compared."""
    model = _load(_STAGE2, {**self.stage2, **self.greedy}).model
    assert isinstance(model, RQTransformerConfig)
    return model

  def tokenizer_of(self, prior: RQTransformerConfig) -> RQVAEConfig:
    """The RQ-VAE whose codes a prior models."""
    model = self.rqvae.model
    return dataclasses.replace(model, codebook_size=prior.codebook_size)


FULL = Cases(
    scale=None,
    stage1={'data.batch_size': 32, 'model.dtype': 'bfloat16'},
    # One device holds the state; it computes the batch of the paper in pieces.
    stage2={'train.accumulate': 32},
    dtype='bfloat16',
    batches=((64, 8), (500, 1, 200)),
    kernels=('xla', 'pallas'),
    compared_kernels='pallas',
    rows=(8, 64),
    copies=16,
    calls=20,
    greedy={
        'model.width': 256,
        'model.heads': 4,
        'model.spatial_layers': 4,
        'model.depth_layers': 2,
        'model.codebook_size': 1024,
    },
    greedy_batch=16,
    repeats=3,
)

# Of the same kinds, in the sizes of a test.
SMALL = Cases(
    scale=32,
    stage1={
        'data.batch_size': 2,
        'data.image_size': 4,
        'model.image_size': 4,
        'model.channels': 8,
        'model.channel_multipliers': (1, 1),
        'model.norm_groups': 4,
        'model.res_blocks': 0,
        'model.z_channels': 8,
        'model.embed_dim': 8,
        'model.attention_resolutions': (),
        'model.code_shape': (2, 2, 2),
        'model.codebook_size': 32,
        # These networks take longest to compile.
        'loss.perceptual_weight': 0.0,
        'loss.adversarial_weight': 0.0,
    },
    stage2={
        'data.batch_size': 4,
        'train.accumulate': 2,
        'model.code_shape': (2, 2, 2),
        'model.codebook_size': 32,
        'model.embed_dim': 8,
        'model.dtype': 'float32',
        **{f'model.{name}': value for name, value in _PRIOR.items()},
    },
    dtype='float32',
    batches=((2,),),
    kernels=('xla', 'interpret'),
    compared_kernels='interpret',
    rows=(2,),
    copies=1,
    calls=1,
    greedy={},
    greedy_batch=2,
    repeats=1,
)


def _load(name: str, changes: Mapping[str, Any]) -> Experiment:
  path = str(_CONFIGS / name)
  return config_lib.load(path, overrides=changes, with_data=False)
