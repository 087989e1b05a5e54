"""Metrics of reconstructions have their known values."""

import jax.numpy as jnp
import numpy as np

from rq_jax.evaluation import reconstruction


def test_psnr_refers_to_a_peak_of_two():
  # An error of half the peak everywhere gives 20 log10(2).
  np.testing.assert_allclose(
      reconstruction.psnr(jnp.float32(1.0)), 6.0206, rtol=1e-5
  )
  np.testing.assert_allclose(
      reconstruction.psnr(jnp.float32(0.04)), 20.0, rtol=1e-6
  )
