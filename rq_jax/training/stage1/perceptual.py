"""The perceptual network of stage 1, restored and never trained."""

import jax
import numpy as np

from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.models import lpips
from rq_jax.typing import Variables


def abstract(*, dtype: str = 'float32') -> tuple[lpips.LPIPS, Variables]:
  """The network, and the shapes of its parameters.

  Args:
    dtype: Dtype of the convolutions.
  """
  network = lpips.LPIPS(dtype=dtype)
  size = lpips.MIN_SIZE
  image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
  return network, jax.eval_shape(network.init, jax.random.key(0), image, image)


def restore(
    path: str,
    mesh: jax.sharding.Mesh,
    *,
    dtype: str = 'float32',
    flag: str = '--config.loss.perceptual_path',
) -> tuple[lpips.LPIPS, Variables]:
  """Restores the network, with a copy of its parameters on every device.

  Args:
    path: Folder of a converted network.
    mesh: Mesh of the devices to place the parameters on.
    dtype: Dtype of the convolutions.
    flag: The flag that names the folder, for errors.

  Raises:
    ValueError: If the folder holds no such network.
  """
  network, shapes = abstract(dtype=dtype)
  try:
    variables, _ = stored.restore_variables(
        path, shapes, sharding=partitioning.replicated(mesh)
    )
  except ValueError as error:
    raise ValueError(
        f'{flag}={path} holds no perceptual network. It must be a folder that'
        f' `python -m rq_jax convert --from=lpips` wrote. Change {flag}.'
    ) from error
  return network, variables
