"""The base class of networks that others use through `apply`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn


class Module(nn.Module):
  """`nn.Module`, with another type for the result of `apply`.

  The result is that of the method that `apply` calls; with `mutable`, it is a
  pair of this result and the collections that changed. Flax declares the union
  of both, which type checkers reject wherever the result is used.
  """

  if TYPE_CHECKING:

    def apply(
        self, variables: Mapping[str, Any], *args: Any, **options: Any
    ) -> Any:
      """Calls a method with variables; see `nn.Module.apply`."""
