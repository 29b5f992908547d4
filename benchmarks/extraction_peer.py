"""Runs in the peer's environment: pages in, texts and seconds out (see extraction.py).

Usage: python extraction_peer.py PAGES.jsonl TEXTS.jsonl, one JSON string a line in both.
"""

import json
import logging
import sys
import time


def main(pages_path, texts_path):
    logging.disable(logging.CRITICAL)
    import trafilatura

    with open(pages_path) as file:
        pages = [json.loads(line) for line in file]
    texts = []
    start = time.process_time()
    for page in pages:
        # the arguments of datatrove's Trafilatura extractor with its defaults
        texts.append(trafilatura.extract(page, favor_precision=True, include_comments=False, deduplicate=True))
    seconds = time.process_time() - start
    with open(texts_path, "w") as file:
        for text in texts:
            print(json.dumps(text or ""), file=file)
    print(json.dumps({"version": trafilatura.__version__, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
