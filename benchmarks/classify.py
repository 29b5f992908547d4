"""Scoring with models: fastText against the library, the encoder engine against plain transformers loops.

    .venv/bin/python benchmarks/classify.py [--rounds 3] [--documents 512]

Runs `classify_fasttext.py` and `classify_encoder.py`, which have more options, one after the other, and prints what
they print: documents per second, useful-token share, MFU (where there is a GPU), ratios, and largest differences.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=512, help="of the encoder's part")
    options = parser.parse_args()
    rounds = ["--rounds", str(options.rounds)]
    programs = {
        "classify_fasttext.py": rounds,
        "classify_encoder.py": [*rounds, "--documents", str(options.documents)],
    }
    codes = []
    for program, arguments in programs.items():
        print(f"\n== {program} {' '.join(arguments)}", flush=True)
        codes.append(subprocess.run([sys.executable, str(HERE / program), *arguments], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
