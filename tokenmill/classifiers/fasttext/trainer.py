"""The process that trains one fastText model: `python -m tokenmill.classifiers.fasttext.trainer LINES MODEL SETTINGS`.

The library is bit for bit reproducible with one thread in a process that has trained nothing before; a second training
in the same process gives other weights, or NaN (measured on three distributions).
"""

from __future__ import annotations

import json
import sys

NAN = 3
"""Exit code where the library met a number that is none."""
MISSING = 4
"""Exit code where there is no library that can train."""


def main() -> int:
    """Train; what went wrong goes to stderr."""
    lines, model, settings = sys.argv[1:4]
    try:
        import fasttext

        train = fasttext.train_supervised
    except (ImportError, AttributeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return MISSING
    try:
        trained = train(input=lines, thread=1, verbose=0, **json.loads(settings))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return NAN if "NaN" in str(error) else 1
    trained.save_model(model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
