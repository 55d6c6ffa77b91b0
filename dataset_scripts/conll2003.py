"""Convert words and tags in columns: ``python dataset_scripts/conll2003.py RAW --out DIR``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "conll2003"]
    main()
