"""Names of published references, by their hashes."""

import dataclasses
import hashlib
import os


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
  """A published reference.

  Attributes:
    sha256: Its hash.
    name: The file and who published it, as users see it.
    dialect: Name of the dialect in which it was computed.
  """

  sha256: str
  name: str
  dialect: str


REFERENCES = (
    Known(
        sha256=(
            '3f9c92d15755e76ec312964a819e3e19b9cf3aadc618a7ae99f5e8aa96501260'
        ),
        name='imagenet_256_train.npz of the authors of RQ-VAE',
        dialect='rq',
    ),
    Known(
        sha256=(
            '809489d8316b9e6eb9dc3bc021b6d602f4b6d816cc80621c6b9c189a9253a7f6'
        ),
        name='lsun_256_church.npz of the authors of RQ-VAE',
        dialect='rq',
    ),
)


def sha256(path: str | os.PathLike) -> str:
  """SHA-256 of a file, in hexadecimal digits."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def reference(digest: str) -> Known | None:
  """The published reference with a SHA-256; None if it is unknown."""
  return next((k for k in REFERENCES if k.sha256 == digest), None)
