"""Convert Doccano's exports: ``python dataset_scripts/doccano.py RAW --out DIR [--images DIR]``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "doccano"]
    main()
