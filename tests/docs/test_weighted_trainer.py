"""The classes that docs/backbones.md shows for a ``Trainer``: the loss of each post is multiplied by its weight."""

import pytest
import torch
from blocks import blocks
from places import ROOT
from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast, TrainingArguments

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "sees", "rome", "bob"]
ROWS = [
    {"input_ids": [2, 5, 6, 7, 3], "attention_mask": [1] * 5, "labels": [-100, 1, 0, 2, -100], "weight": None},
    {"input_ids": [2, 8, 6, 3], "attention_mask": [1] * 4, "labels": [-100, 1, 0, -100], "weight": 0.5},
]


@pytest.fixture(scope="module")
def shown():
    """The names that the page's block defines."""
    text = next(b.text for b in blocks(ROOT / "docs" / "backbones.md") if "class WeightedTrainer" in b.text)
    names = {}
    exec(text, names)
    return names


@pytest.fixture
def collator(shown, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    return shown["WeightedCollator"](BertTokenizerFast(str(tmp_path / "vocab.txt")))


def network():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForTokenClassification(config)


def trained(shown, collator, rows, folder):
    net = network()
    arguments = TrainingArguments(
        str(folder),
        max_steps=2,
        per_device_train_batch_size=2,
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    shown["WeightedTrainer"](model=net, args=arguments, train_dataset=rows, data_collator=collator).train()
    return net.state_dict()


def test_the_loss_of_a_batch_is_that_of_its_posts_times_their_weights(shown, collator):
    net, batch = network(), collator(ROWS)
    assert batch["weights"].tolist() == [1.0, 0.5]
    alone = [collator([row]) for row in ROWS]
    sums = [
        net(**{k: v for k, v in one.items() if k != "weights"}).loss * n for one, n in zip(alone, (3, 2), strict=True)
    ]
    trainer = object.__new__(shown["WeightedTrainer"])
    loss, outputs = trainer.compute_loss(net, dict(batch), return_outputs=True)
    assert loss.item() == pytest.approx((sums[0] + 0.5 * sums[1]).item() / 5)
    assert outputs.logits.shape == (2, 5, 3)
    assert trainer.compute_loss(net, dict(batch), num_items_in_batch=10).item() == pytest.approx(loss.item() / 2)


def test_a_post_of_no_weight_teaches_nothing(shown, collator, tmp_path):
    silent = [ROWS[0], {**ROWS[1], "weight": 0.0}]
    turned = [ROWS[0], {**ROWS[1], "weight": 0.0, "labels": [-100, 0, 2, -100]}]
    first, second, weighted = (
        trained(shown, collator, rows, tmp_path / name)
        for name, rows in (("a", silent), ("b", turned), ("c", [ROWS[0], {**turned[1], "weight": 1.0}]))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], weighted[name]) for name in first)
