"""How help is ordered: the groups of options, and two examples of each verb that has many."""

from collections.abc import Callable

from typer.models import OptionInfo

# By the names of a verb's parameters; the order of groups is that of a verb's options.
GROUPS = {
    "Data": """images columns fraction subset_seed ids ids_train ids_validation fractions data xml encoding scheme
        tokeniser orphans misaligned nested offsets corrections language types check_against""",
    "Method": "method methods recipe recipes seed copies preset set_ keep model backbone weights budget usd",
    "Study": "configs cells seeds augmentation_seeds paired split split_by grid ablations predictions phrase smoke",
    "Workers": """num_proc engine address workers gpus_per_worker cpus_per_worker memory_per_worker part_size rank
        world_size storage""",
    "Calls to servers": "web endpoint replay allow_host",
    "Before the run": "preview dry_run probe yes",
    "Result": """out config_name overwrite into_existing retrieved push_to_hub create_pr report source write_card
        write_page submit""",
}
EXAMPLES = {
    "augment": (
        "augment twitter2015 --method lsms --out my-aug",
        "augment ORG/NAME@main --method gmda --fraction 0.1 --set image=false --out my-aug --dry-run",
    ),
    "convert": (
        "convert twitter2015 raw/ --images pictures/ --out twitter2015",
        "convert conll words.txt --columns tokens=1,ner_tags=3 --types OTHER=MISC --out my-set",
    ),
    "evaluate": (
        "evaluate my-aug --configs lsms_10pct --seeds 0 1 2",
        "evaluate my-aug --configs lsms_10pct gmda_10pct --backbone token_classifier --set encoder=roberta-base",
    ),
    "curve": (
        "curve twitter2015 --methods lsms eda --fractions 0.1 0.3 --out curves",
        "curve twitter2015 --methods gmda --ids ids/ --seeds 0 1 2 --engine pool --out curves",
    ),
    "recommend": (
        "recommend twitter2015 --fraction 0.1 --budget 30m --out advice",
        "recommend twitter2015 --methods mixgen lsms --copies 1 2 --budget 2h --out advice",
    ),
    "replicate": (
        "replicate gmda 2 --dry-run --out tables",
        "replicate gmda 2 --smoke --out tables",
    ),
}


def put_into_groups(verb: Callable[..., None]) -> None:
    """Give each option of a verb its group of the help."""
    panels = {name: panel for panel, names in GROUPS.items() for name in names.split()}
    for name, annotation in verb.__annotations__.items():
        for told in getattr(annotation, "__metadata__", ()):
            if isinstance(told, OptionInfo):
                told.rich_help_panel = panels.get(name)


def examples_of(verb: Callable[..., None]) -> str | None:
    """Return what stands below the options of a verb."""
    lines = [f"hf-mner-aug {line}" for line in EXAMPLES.get(verb.__name__, ())]
    return "\n\n".join(["Examples:", *lines]) if lines else None
