"""Every script's words: the same toy grammar in ten scripts, and what is cut, masked and told apart in each."""

import random
import re
import unicodedata

import pytest
from conftest import as_dataset
from hypothesis import given
from hypothesis import strategies as st

from hf_mner_aug import EDA, GMDA, LSMS, RMDA, MemoryHard
from hf_mner_aug.backbones.crf import word_shape
from hf_mner_aug.backbones.encoder import make_tiny
from hf_mner_aug.methods.rmda.projection import QueryMention, bare_words, project_labels
from hf_mner_aug.models.image.collage import words_of
from hf_mner_aug.models.search import words
from hf_mner_aug.posts import masking, scripts
from hf_mner_aug.posts.lexicon import nearest_words, ordinary_words
from hf_mner_aug.posts.texts import normalise_text, text_key
from hf_mner_aug.posts.tokenising import restyle, split_words, word_style
from hf_mner_aug.schema import Entity, Post, mner_features

# Somebody, doing something, like something, somewhere.
WORDS = {
    "English": ("boy girl people friend", "goes comes stays sleeps", "big small good bad", "delhi mumbai"),
    "Hindi": ("लड़का लड़की लोग मित्र", "जाता आता रहता सोता", "बड़ा छोटा अच्छा बुरा", "दिल्ली मुंबई"),
    "Bengali": ("ছেলে মেয়ে মানুষ বন্ধু", "যায় আসে থাকে ঘুমায়", "বড় ছোট ভালো খারাপ", "ঢাকা কলকাতা"),
    "Tamil": ("பையன் பெண் மக்கள் நண்பன்", "செல்கிறான் வருகிறான் தங்குகிறான் தூங்குகிறான்", "பெரிய சிறிய நல்ல கெட்ட", "சென்னை மதுரை"),
    "Thai": ("เด็ก ผู้หญิง คน เพื่อน", "ไป มา อยู่ นอน", "ใหญ่ เล็ก ดี แย่", "กรุงเทพ เชียงใหม่"),
    "Arabic": ("ولد بنت ناس صديق", "يذهب يأتي يبقى ينام", "كبير صغير جيد سيئ", "القاهرة بغداد"),
    "vocalised Arabic": ("وَلَد بِنْت نَاس صَدِيق", "يَذْهَب يَأْتِي يَبْقَى يَنَام", "كَبِير صَغِير جَيِّد سَيِّئ", "القَاهِرَة بَغْدَاد"),
    "French in NFD": ("élève fillé géns âme", "rêve crée télé pése", "égal mûr âpre ábc", "évry alès"),
    "Chinese": ("男孩 女孩 人们 朋友", "去 来 住 睡", "大 小 好 坏", "北京 上海"),
    "emoji": ("👨‍👩‍👧 👩🏽 👫 🐶", "🏃‍♂️ 🚶 🏠 😴", "❤️ 👍🏽 ☀️ 👎", "🗽 🇫🇷"),
}  # fmt: skip
WORDS["French in NFD"] = tuple(unicodedata.normalize("NFD", part) for part in WORDS["French in NFD"])
METHODS = {
    "eda": EDA(copies=2, seed=1),
    "lsms": LSMS(copies=2, seed=1, operations=("synonym",)),
    "gmda": GMDA(copies=1, seed=1, image=False, detector=""),
    "rmda": RMDA(
        copies=2, seed=1, image=False, detector="crf:iterations=20", detectors=2, results=20, per_entity=0, letters=4
    ),
    "memory_hard": MemoryHard(
        copies=1, seed=1, target="crf:iterations=1", detector="crf:iterations=30", detectors=2, folds=2, seeds=1
    ),
}


def grammar(script, n_posts=50, seed=0):
    """Return posts of the grammar in a script, with a place in each."""
    who, does, like, where = (part.split() for part in WORDS[script])
    stream = random.Random(seed)
    who, does, like, where = ([a + b for a in part for b in also] for part, also in
                              ((who, who), (does, does), (like, like), (where, who)))  # fmt: skip
    order = (who, like, who, where, like, does, who, like)
    place = Entity(3, 4, "LOC")
    return [Post(str(i), [stream.choice(part) for part in order], (place,)) for i in range(n_posts)]


@pytest.mark.parametrize("method", METHODS)
def test_as_many_rows_in_every_script(method):
    counts = {}
    for script in WORDS:
        dataset = as_dataset(grammar(script), mner_features(["LOC"]))
        fitted = METHODS[method].fit(dataset)
        made = dataset.map(fitted, batched=True, features=fitted.features)
        counts[script] = len(made)
    print(method, counts)
    least, most = min(counts.values()), max(counts.values())
    assert least >= 0.8 * most >= 20, counts


@pytest.mark.parametrize("script", WORDS)
def test_the_grammar_comes_out_of_raw_text_as_it_went_in(script):
    posts = grammar(script)
    for style in ("whole", "split"):
        for post in posts:
            pieces = [scripts.signs_of(token) if script == "emoji" else [token] for token in post.tokens]
            assert split_words(" ".join(post.tokens), style) == [piece for token in pieces for piece in token]
    assert all(ordinary_words(post) == [0, 1, 2, 4, 5, 6, 7] for post in posts)
    assert len(nearest_words(posts)) >= 20
    assert len({text_key(post.tokens) for post in posts}) == len(posts)


# ---------------------------------------------------------------- cutting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("मुंबई की बारिश, #मुंबई @राम_कुमार!", ["मुंबई", "की", "बारिश", ",", "#मुंबई", "@राम_कुमार", "!"]),
        ("كِتَابٌ جَدِيد، هُنَا", ["كِتَابٌ", "جَدِيد", "،", "هُنَا"]),
        ("ผู้หญิงดี ๆ", ["ผู้หญิงดี", "ๆ"]),
        ("de\u0301ja\u0300-vu\u0308 !", ["de\u0301ja\u0300-vu\u0308", "!"]),
        ("می‌روم به خانه", ["می‌روم", "به", "خانه"]),
        ("ක්‍රීඩා שָׁלוֹם", ["ක්‍රීඩා", "שָׁלוֹם"]),
        ("so ❤️👍🏽 👩‍👧x 🇫🇷🇩🇪 1️⃣ #️⃣", ["so", "❤️", "👍🏽", "👩‍👧", "x", "🇫🇷", "🇩🇪", "1️⃣", "#️⃣"]),
        ("Donau\u00adschiff \u200fסוף\u200f \u200bab\ufeff", ["Donau\u00adschiff", "סוף", "ab"]),
        ("x\u00b2 ½ a_b", ["x\u00b2", "½", "a_b"]),
    ],
)
def test_words_of_raw_text(text, expected):
    assert split_words(text, "whole") == expected


@given(st.text(st.characters(exclude_categories=["Cn", "Cs"])))
def test_nothing_that_can_be_seen_is_lost(text):
    unseen = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
    kept = {sign for sign in text if unicodedata.category(sign)[0] in "LNPS" and not unseen.match(sign)}
    kept -= {"\u115f", "\u1160", "\u3164", "\uffa0"}  # fillers of Hangul are not seen
    for style in ("whole", "split", "characters"):
        assert kept <= set("".join(split_words(text, style)))


@given(st.text(st.characters(max_codepoint=127)))
def test_a_text_of_ascii_is_cut_as_any(text):
    # An accent or a joiner at the end takes the way of other scripts.
    printed = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    for style in ("whole", "split"):
        assert split_words(printed + " é", style) == [*split_words(printed, style), "é"] or printed.endswith(
            ("//", "www.")
        )


def test_texts_cut_into_characters_keep_their_marks_and_emoji():
    assert split_words("我❤️ e\u0301 👩‍👧", "characters") == ["我", "❤️", "e\u0301", "👩‍👧"]
    posts = [Post("1", ["我", "❤️", "北", "👩‍👧"])]
    assert word_style(posts) == "characters"
    assert masking.mask(["好", "@", "张", "e\u0301", "!", "१", "❤️"], masking.KINDS)[0] == [*"好@xx!", "१", "❤️"]


def test_handles_are_put_together_and_parted():
    assert restyle(["@", "राम", "#", "\u0e40ด็ก", "@", "!"], "whole") == ["@राम", "#\u0e40ด็ก", "@", "!"]
    assert restyle(["@राम", "#️⃣"], "split") == ["@", "राम", "#️⃣"]


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("राम काम करता है", "रमा कम करती है"), ("कल बल मिला", "काला बाला मेला"), ("ক খা", "কি খু"), ("แม่ มา", "แม่ มี")),
        *(("แม", "แม่"), ("தமிழ் மொழி", "தமழி மழ"), ("کتاب", "کِتاب"), ("שָׁלוֹם", "שִׁלוֹם"), ("résumé", "resume")),
        *(
            ("I ❤ NY", "I 💔 NY"),
            ("fine 👍", "fine 👎"),
            ("fine 👍🏽", "fine 👍🏿"),
            ("go 🇫🇷", "go 🇩🇪"),
            ("go", "go 🇩🇪"),
        ),
        *(("🏴󠁧󠁢󠁥󠁮󠁧󠁿 won", "🏴󠁧󠁢󠁳󠁣󠁴󠁿 won"), ("C# rocks", "C++ rocks"), ("C# rocks", "C rocks"), ("F# is", "F is")),
        *(("+1", "-1"), ("+1", "1"), ("-1", "1"), ("\u22121", "1"), ("win 1-0", "win 10"), ("at 1:30", "at 130")),
        *(("1.5 m", "15 m"), ("$5", "€5"), ("$5", "5"), ("1/2", "12"), ("5 > 3 = yes", "5 > 3 + yes"), ("a×b", "a÷b")),
        *((":)", ":("), ("👍", "👎"), ("x²", "x³"), ("Disney", "Disney+")),
    ],
)
def test_different_texts_have_different_keys(one, other):
    assert text_key(one.split()) != text_key(other.split())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("not good", "not: good!"), ("he said no ?", "he said no"), ("a.b c", "ab c"), ("Covid-19 is", "Covid 19 is"),
          ("Covid - 19 is", "Covid-19 is"), ("win 1 - 0 now", "win 1-0 now"), ("win 1\u20130", "win 1-0")),
        *(("C # rocks", "C# rocks"), ("C + + rocks", "C++ rocks"), ("- 1", "-1"), ("\u22121", "-1"), ("$ 5", "$5"),
          ("#tag", "tag"), ("C#", "c＃")),
        *(("I ❤️ NY", "I ❤ NY"), ("I ❤ \ufe0f NY", "I❤️NY"), ("👩 \u200d 👧", "👩‍👧")),
        *(("می‌روم", "می روم"), ("कि ताब", "क ि ताब")),
        *(("e\u0301le\u0300ve", "élève"), ("don\u00b4t", "don't"),
          ("Donau\u00adschiff", "Donauschiff"), ("की - 5", "की-5")),
        *(("सच! है।", "सच है"), ("«да»", "да"), ("AT&amp;T", "AT&T"), ("A | B ~ C", "A B C"),
          ("2,000", "2000"), ("ｗｉｎ １-０", "win 1-0")),
    ],
)  # fmt: skip
def test_the_same_text_cut_or_pointed_otherwise_has_the_same_key(one, other):
    assert text_key(one.split()) == text_key(other.split()) != ""


def test_a_key_does_not_depend_on_how_a_word_is_cut():
    for script in WORDS:
        for post in grammar(script, 10):
            assert text_key(post.tokens) == text_key(list("".join(post.tokens)))


def test_retweets_of_every_script_are_stripped():
    assert normalise_text("RT @राम_कुमार: वह आया") == normalise_text("rt @ राम_कुमार : वह आया") == "वह आया"
    assert normalise_text("RT @أحمَد: RT @joe : نعم") == "نعم"


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hi @राम_कुमार kal", "hi @user kal"),
        ("สวัสดี @สมชาย_ใจดี ครับ", "สวัสดี @user ครับ"),
        ("اتصل @أحمَد الآن", "اتصل @user الآن"),
        ("@e\u0301lise @می‌روم ok", "@user @user ok"),
        ("ping @ann.lee now", "ping @user now"),
        ("ping @ann.lee, @ann-lee. and @ann.", "ping @user, @user. and @user."),
        ("RT @a_b _ c : x", "RT @user _ user : x"),
        ("mail अनिल@example.com now", "mail user@example.com now"),
        ("mail émile@exemple.fr, jörg.müller@bücher.example", "mail user@example.com, user.user@example.com"),
        ("mail 用户@例子.公司 .", "mail user@example.com ."),
        ("邮箱joe@mail.com谢谢", "邮箱user@example.com谢谢"),
        ("mail अनिल . राम @ mail . com !", "mail user . user @ example . com !"),
        ("call ०९८७६५४३२१० now", "call 00000000000 now"),
        ("call ٠٥٥٥٠١٠٠١٠ or ＋４９ ３０ ０１００１００", "call 0000000000 or ＋00 00 0000000"),
        ("call 555\u2013123\u20134567 now", "call 000\u2013000\u20130000 now"),
        ("paid ₹ 9876543210 on २०१५-११-२१", "paid ₹ 9876543210 on २०१५-११-२१"),
        ("@annlee@mastodon.social", "@user@example.com"),
    ],
)
def test_masks_take_the_whole(text, expected):
    tokens, counts = masking.mask(text.split(), masking.KINDS)
    assert " ".join(tokens) == expected
    assert bool(counts) == (text != expected)


# ---------------------------------------------------------------- counts, comparisons, features


@pytest.mark.parametrize(
    ("text", "n"),
    [
        *(("Rome", 4), ("New York", 7), ("e\u0301vry", 4), ("évry", 4), ("U.S.", 2), ("राम", 3), ("दिल्ली", 5)),
        *(("مكة", 3), ("مَكَّة", 3), ("北京", 4), ("北 京", 4), ("서울", 4), ("กรุงเทพ", 6), ("🗽", 4), ("❤️", 4),
          ("24/7", 3), ("", 0)),
    ],
)  # fmt: skip
def test_written_length(text, n):
    assert scripts.written_length(text) == n


def test_plain_words():
    plain = ["good", "हिन्दी", "می‌روم", "كِتَاب", "cafe\u0301", "café", "北京", "❤️", "👩‍👧", "🇫🇷", "love❤️"]
    others = ["24", "a1", "don't", "…", "\u0301", "\ufe0f", "©", "a_b", "", "१२", "!"]
    assert all(map(scripts.is_plain_word, plain))
    assert not any(map(scripts.is_plain_word, others))


def test_emoji_are_words_where_there_are_no_others():
    assert ordinary_words(Post("1", ["😂", "❤️", "!", "👩‍👧"])) == [0, 1, 3]
    assert ordinary_words(Post("1", ["so", "😂"])) == [0]


def test_mentions_are_found_in_both_normal_forms():
    mention = QueryMention(("Cafe\u0301", "Élise"), Entity(0, 2, "ORG"))
    (found,) = project_labels(["au", "café", "E\u0301lise"], [mention])
    assert (found.start, found.end) == (1, 3)
    assert bare_words(["#cafe\u0301"]) == ("café",)


def test_words_that_are_searched_are_as_they_were():
    assert words("राम की क‍ष می‌روم ❤️ กำ") == [
        "राम",
        "की",
        "क",
        "\u200d",
        "ष",
        "می",
        "\u200c",
        "روم",
        "❤",
        "\ufe0f",
        "ก",
        "ำ",
    ]


def test_features_and_vocabularies_keep_marks():
    assert word_shape("हिन्दी") == "xxx"
    assert word_shape("e\u0301Ab1") == "xXxd"
    assert words_of("राम की किताब 北京") == ["राम", "की", "किताब", "北", "京"]
    posts = [Post(str(i), ["किताब", "अच्छा", str(i)]) for i in range(3)]
    pytest.importorskip("transformers")
    assert "किताब" in make_tiny(posts)[0].get_vocab()
