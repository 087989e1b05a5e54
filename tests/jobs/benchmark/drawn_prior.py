"""The small RQ-Transformer that the tests of drawing times share."""

from rq_jax.models import rqtransformer

PRIOR = rqtransformer.RQTransformer(
    code_shape=(2, 3, 4),
    codebook_size=10,
    width=16,
    heads=2,
    spatial_layers=3,
    depth_layers=2,
    num_classes=5,
)
