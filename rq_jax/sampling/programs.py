"""The compiled programs that draw code maps; see `decode`."""

from rq_jax import compiler_options
from rq_jax.sampling import decode

draw_maps = compiler_options.Jitted(
    decode.draw_maps,
    compiler_options.few_rows,
    static_argnums=0,
    static_argnames=('mesh', 'keep_logits'),
)
start = compiler_options.Jitted(
    decode.start,
    compiler_options.few_rows,
    static_argnums=0,
    static_argnames=('guided', 'mesh'),
)
# It takes over the memory of `progress`.
advance = compiler_options.Jitted(
    decode.advance,
    compiler_options.few_rows,
    static_argnums=0,
    static_argnames='positions',
    donate_argnames='progress',
)
