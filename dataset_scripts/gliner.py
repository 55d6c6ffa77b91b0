"""Convert GLiNER's training data: ``python dataset_scripts/gliner.py RAW --out DIR [--images DIR]``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "gliner"]
    main()
