"""Convert exports of Label Studio: ``python dataset_scripts/label-studio.py RAW --out DIR``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "label-studio"]
    main()
