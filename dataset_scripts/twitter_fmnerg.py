"""Convert Twitter-FMNERG: ``python dataset_scripts/twitter_fmnerg.py RAW --out DIR [--xml DIR]``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "twitter_fmnerg"]
    main()
