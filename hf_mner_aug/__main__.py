"""``python -m hf_mner_aug`` is the command line."""

from hf_mner_aug.cli import main

if __name__ == "__main__":
    main()
