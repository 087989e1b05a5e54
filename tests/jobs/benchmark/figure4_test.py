"""The comparison of Figure 4 of the paper."""

import pytest

from rq_jax.jobs.benchmark import figure4
from rq_jax.models import build


def test_figure_4_compares_with_the_model_of_stacks_and_with_the_paper():
  def record(model, batch, milliseconds, passes):
    return {
        'model': model,
        'batch_size': batch,
        'ms_per_image': {'total': milliseconds},
        'layer_passes': passes,
    }

  found = [
      record('stacks', 100, 2.0, 4224),
      record('stacks', 300, 1.0, 4224),
      record('longer', 100, 9.0, 12288),  # 300 images did not fit into memory.
  ]
  lines = figure4.comparison(found).splitlines()
  assert [line.split() for line in lines[2:5]] == [
      ['stacks', '100', '2.000', '1.00x', '4224', '39', 'ms,', '1.0x'],
      ['longer', '100', '9.000', '4.50x', '12288', '162', 'ms,', '4.2x'],
      ['stacks', '300', '1.000', '1.00x', '4224', '-'],
  ]
  stacks, longer = figure4.PAPER[200][::-1]
  assert longer / stacks == pytest.approx(5.6)


@pytest.mark.parametrize(('size', 'number'), [('small', 2), ('huge', 3)])
def test_models_of_figure_4_have_the_same_layers(size, number):
  priors = [build.rqtransformer(c) for c in figure4.models(size).values()]
  assert len(priors) == number
  assert priors[0].code_shape == (8, 8, 4)
  for prior in priors[1:]:
    assert prior.code_shape == (16, 16, 1)
    assert prior.width == priors[0].width
    layers = priors[0].spatial_layers + priors[0].depth_layers
    assert prior.spatial_layers + prior.depth_layers == layers
