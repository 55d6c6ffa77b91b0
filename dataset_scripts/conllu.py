"""Convert CoNLL-U with tags of entities: ``python dataset_scripts/conllu.py RAW --out DIR``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "conllu"]
    main()
