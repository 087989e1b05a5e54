"""The table of the names of CLIP's arrays, in Hugging Face's `CLIPModel`.

See `tables`.
"""

from rq_jax.conversion import layouts
from rq_jax.conversion import tables
from rq_jax.conversion.tables import Row

# Lists of positions that older files hold beside the weights.
UNUSED = r'(text|vision)_model\.embeddings\.position_ids'

_ARRAYS = {
    'logit_scale': 'logit_scale',
    'class_embedding': 'vision_model.embeddings.class_embedding',
    'image_position': 'vision_model.embeddings.position_embedding.weight',
    'token_embedding': 'text_model.embeddings.token_embedding.weight',
    'text_position': 'text_model.embeddings.position_embedding.weight',
}
_LAYERS = {
    'patches': 'vision_model.embeddings.patch_embedding',
    'image_norm_in': 'vision_model.pre_layrnorm',  # Hugging Face's spelling.
    'image_norm_out': 'vision_model.post_layernorm',
    'image_projection': 'visual_projection',
    'text_norm': 'text_model.final_layer_norm',
    'text_projection': 'text_projection',
}
_BLOCK = {
    'norm1': 'layer_norm1',
    'norm2': 'layer_norm2',
    'query': 'self_attn.q_proj',
    'key': 'self_attn.k_proj',
    'value': 'self_attn.v_proj',
    'out': 'self_attn.out_proj',
    'mlp_in': 'mlp.fc1',
    'mlp_out': 'mlp.fc2',
}


def clip(
    shapes: tables.Shapes, *, image_heads: int, text_heads: int
) -> list[Row]:
  """Rows of a CLIP with variables of these shapes; see `models.clip`."""
  stacks = {
      'image_stack': (
          'vision_model.encoder.layers',
          tables.block_rows(image_heads, _BLOCK),
      ),
      'text_stack': (
          'text_model.encoder.layers',
          tables.block_rows(text_heads, _BLOCK),
      ),
  }
  rows = []
  for ours, shape in shapes.items():
    name = ours.removeprefix('params/')
    stack, _, rest = name.partition('/layers/')
    if stack in stacks:
      blocks, block = stacks[stack]
      row = tables.stacked_row(ours, blocks, block[rest], layers=shape[0])
    elif name in _ARRAYS:
      row = Row((ours,), (_ARRAYS[name],), layouts.SAME)
    else:
      layer = _LAYERS[name.rpartition('/')[0]]
      row = tables.layer_row(ours, shape, layer)
    rows.append(row)
  return rows
