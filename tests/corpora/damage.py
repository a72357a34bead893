"""Files as an accident leaves them."""

import random
from collections.abc import Sequence


def overwritten(content: bytes, rng: random.Random, pieces: Sequence[bytes]) -> bytes:
    """Return a file cut, shortened, shuffled by line or overwritten at some places, by pieces or any bytes."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(content))
        match rng.randrange(5):
            case 0:
                content = content[:at] if rng.random() < 0.5 else content[at:]
            case 1:
                content = content[:at] + content[at + rng.randint(0, 40) :]
            case 2:
                rows = content.split(b"\n")
                rng.shuffle(rows)
                content = b"\n".join(rows)
            case _:
                piece = rng.choice(pieces) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 4))
                content = content[:at] + piece + content[at + rng.randint(0, 12) :]
    return content
