"""Signatures by datasketch, in the peers' environment: `SHINGLES.parquet SIGNATURES.npy PERMUTATIONS`."""

import sys

import numpy as np
import pyarrow.parquet as pq
from datasketch import MinHash


def main():
    given, made, permutations = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rows = pq.read_table(given)["shingles"].to_pylist()
    first = MinHash(num_perm=permutations, seed=1)
    out = np.zeros((len(rows), permutations), np.uint64)
    for number, shingles in enumerate(rows):
        one = MinHash(num_perm=permutations, permutations=first.permutations, scheme=first.scheme)
        one.update_batch([shingle.encode() for shingle in shingles])
        out[number] = one.digest()
    np.save(made, out)


if __name__ == "__main__":
    main()
