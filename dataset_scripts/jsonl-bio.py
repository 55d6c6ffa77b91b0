"""Convert JSON of words and tags: ``python dataset_scripts/jsonl-bio.py RAW --out DIR``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "jsonl-bio"]
    main()
