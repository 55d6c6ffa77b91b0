"""Convert LightTag's exports: ``python dataset_scripts/lighttag.py RAW --out DIR [--images DIR]``; see ``--help``."""

import sys

from hf_mner_aug.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert", "lighttag"]
    main()
