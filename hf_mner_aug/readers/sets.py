"""The table of raw sets: one entry each. Installed packages may offer others."""

from functools import partial

from hf_mner_aug.readers.formats import MNRE_RELATIONS, parse_imgid, parse_mner_mi, parse_mnre, parse_wid
from hf_mner_aug.readers.layout import ANY_PREFIX, SPLIT_FILES, RawSet
from hf_mner_aug.readers.spans import brat, spans_set
from hf_mner_aug.readers.spans.brat import read_brat
from hf_mner_aug.readers.spans.doccano import read_doccano
from hf_mner_aug.readers.spans.generic import read_spans
from hf_mner_aug.readers.spans.gliner import read_gliner
from hf_mner_aug.readers.spans.label_studio import read_label_studio
from hf_mner_aug.readers.spans.lighttag import read_lighttag
from hf_mner_aug.readers.spans.prodigy import read_prodigy
from hf_mner_aug.readers.spans.spacy import read_spacy
from hf_mner_aug.readers.tag_files import conll, conllu, json_lists
from hf_mner_aug.schema import FOUR_TYPES

_UMT = "https://github.com/jefferyYu/UMT"
_LU = "Lu et al. 2018, Visual Attention Model for Name Tagging in Multimodal Social Media, ACL"
_HUANG = (
    "Huang et al. 2024, MNER-MI: A Multi-image Dataset for Multimodal Named Entity Recognition in Social Media, "
    "LREC-COLING"
)
_English = partial(RawSet, language="en")
_Blocks = partial(RawSet, parse=parse_imgid, takes=("columns", "encoding"))
_Tagged = partial(RawSet, takes=("columns", "encoding"), scheme="auto", prefixes=("", ANY_PREFIX))
_Columns = partial(
    _Tagged,
    parse=conll.parse_conll,
    recognise=conll.recognise,
    split_names={**SPLIT_FILES, "validation": (*SPLIT_FILES["validation"], "testa"), "test": ("test", "testb")},
    endings=(
        *(".txt", ".conll", ".tsv", ".bio", ".iob", ".iob2", ".bioes", ".bmes", ".char", ".char.bmes", ".conll2003"),
        "",
    ),
)
_Tweets = partial(_Blocks, language="en", types=FOUR_TYPES, renames={"OTHER": "MISC"})
_SeveralPictures = partial(
    _English,
    parse=parse_mner_mi,
    takes=("encoding",),
    types=FOUR_TYPES,
    renames={"MIS": "MISC"},
    folders=("text",),
    images="many",
    homepage="https://github.com/JinFish/MNER-MI",
    citation=_HUANG,
)
_JsonTool = partial(spans_set, takes=("columns", "encoding"), endings=(".jsonl", ".json"))
_SETS = (
    _Tweets(
        name="twitter2015",
        title="Twitter-2015",
        tokeniser="handles whole",
        homepage=_UMT,
        citation="Zhang et al. 2018, Adaptive Co-attention Network for Named Entity Recognition in Tweets, AAAI",
    ),
    _Tweets(
        name="twitter2017",
        title="Twitter-2017",
        tokeniser="handles split",
        homepage=_UMT,
        citation=f"{_LU}; splits of Yu et al. 2020, Improving Multimodal Named Entity Recognition via Entity Span "
        "Detection with Unified Multimodal Transformer, ACL",
    ),
    _Tweets(name="snap", title="SNAP", citation=_LU),
    _Tweets(
        name="twitter_gmner",
        title="Twitter-GMNER",
        tokeniser="handles split",
        folders=("txt",),
        needs_boxes=True,
        homepage="https://github.com/NUSTM/GMNER",
        citation="Yu et al. 2023, Grounded Multimodal Named Entity Recognition on Social Media, ACL",
    ),
    _Blocks(
        name="twitter_fmnerg",
        title="Twitter-FMNERG",
        language="en",
        tokeniser="handles split",
        folders=("txt_fine",),
        homepage="https://github.com/NUSTM/FMNERG",
        citation="Wang et al. 2023, Fine-Grained Multimodal Named Entity Recognition and Grounding with a Generative "
        "Framework, ACM MM",
    ),
    _English(
        name="mnre",
        title="MNRE",
        parse=parse_mnre,
        takes=("encoding",),
        relations=MNRE_RELATIONS,
        tokeniser="handles whole",
        folders=("mnre_txt",),
        prefixes=("mnre_", ""),
        homepage="https://github.com/thecharm/MNRE",
        citation="Zheng et al. 2021, MNRE: A Challenge Multimodal Dataset for Neural Relation Extraction with Visual "
        "Evidence in Social Media Posts, ICME",
    ),
    _SeveralPictures(name="mner_mi", title="MNER-MI", prefixes=("MNER-MI_", "MNER-UNI_", "")),
    _SeveralPictures(name="mner_mi_plus", title="MNER-MI-Plus", prefixes=("MNER-UNI_", "MNER-MI-Plus_", "")),
    RawSet(
        name="cmner",
        title="CMNER",
        parse=parse_wid,
        takes=("encoding",),
        types=FOUR_TYPES,
        language="zh",
        tokeniser="characters",
        joiner="",
        folders=("text",),
        images="many",
        suffixed=True,
        license="mit",
        homepage="https://github.com/Jyz99/CMNER",
        citation="Ji et al. 2024, CMNER: A Chinese Multimodal NER Dataset based on Social Media, arXiv:2402.13693",
    ),
    _Columns(name="conll", title="Posts with tags"),
    _Columns(name="conll2003", title="Sentences with tags in columns"),
    _Tagged(
        name="conllu",
        title="CoNLL-U",
        parse=conllu.parse_conllu,
        recognise=conllu.recognise,
        endings=(".conllu", ".conllup", ".conll", ".txt"),
    ),
    _Tagged(
        name="jsonl-bio",
        title="JSON of words and tags",
        parse=json_lists.parse_json_lists,
        recognise=json_lists.recognise,
        images="auto",
        endings=(".jsonl", ".json", ".txt"),
        lone_file=True,
    ),
    spans_set(
        "spans", "Posts with spans", read_spans, takes=("columns", "encoding"), endings=(".jsonl", ".json", ".txt")
    ),
    _JsonTool("doccano", "Doccano", read_doccano, unit="utf16"),
    _JsonTool("prodigy", "Prodigy", read_prodigy),
    _JsonTool("label-studio", "Label Studio", read_label_studio),
    _JsonTool("lighttag", "LightTag", read_lighttag),
    _JsonTool("gliner", "GLiNER", read_gliner),
    spans_set("spacy", "spaCy", read_spacy, takes=("columns",), endings=(".spacy", ".json", ".jsonl")),
    spans_set("brat", "brat", read_brat, takes=("encoding",), endings=brat.ENDINGS, split_folders=True),
)
RAW_SETS: dict[str, RawSet] = {raw.name: raw for raw in _SETS}
