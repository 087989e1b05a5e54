r"""Brings official checkpoints here, and back; needs no PyTorch.

  python -m rq_jax convert --from=official --src=imagenet_1.4B.tar.gz \
      --dst=checkpoints/imagenet_1.4b
  python -m rq_jax convert --to=official --src=runs/rqtransformer --dst=official
  python -m rq_jax convert --to=safetensors --src=runs/rqvae --dst=safetensors
  python -m rq_jax convert --from=lpips --src=vgg16.pth --heads=vgg.pth \
      --dst=checkpoints/lpips

--src of an official checkpoint is an archive as released, a folder, or one file
of `torch.save`, of whatever name and release, with its `config.yaml` beside it.
Nothing in it is executed. What was written is compared with its source, array
by array.
"""

from absl import flags

from rq_jax.cli import command


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  flags.DEFINE_enum(
      'from',
      None,
      ['official', 'lpips'],
      'What --src is: a checkpoint of the official code, or the VGG16 of'
      ' torchvision for the perceptual loss.',
      flag_values=values,
  )
  flags.DEFINE_enum(
      'to',
      None,
      ['official', 'safetensors'],
      'What to make of the run or checkpoint --src; both have official names'
      ' and layouts.',
      flag_values=values,
  )
  command.define_path('src', None, 'What to convert.', values)
  command.define_path('dst', None, 'Folder to write; must be new.', values)
  flags.DEFINE_bool(
      'ema',
      None,
      'Whether to take averaged parameters. From official files, only if this'
      ' is set; of our runs, where they kept them.',
      flag_values=values,
  )
  command.define_path(
      'tokenizer',
      None,
      'With --from=official: the converted RQ-VAE of an RQ-Transformer that'
      ' comes without it.',
      values,
  )
  command.define_path(
      'heads',
      None,
      'With --from=lpips: the file of its linear heads, vgg.pth.',
      values,
  )
  flags.DEFINE_integer(
      'step',
      None,
      'With --to: which checkpoint of a run; the newest if not set.',
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
  command.require(values, 'src', 'dst')
  command.refuse(values, 'tokenizer', unless=source == 'official')
  command.refuse(values, 'heads', unless=source == 'lpips')
  command.refuse(values, 'step', unless=target is not None)
  command.refuse(values, 'ema', unless=source != 'lpips')
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
  else:
    from rq_jax.jobs.convert import to_official

    to_official.to_official(
        values.src,
        values.dst,
        layout=target,
        step=values.step,
        ema=values.ema is not False,
    )
