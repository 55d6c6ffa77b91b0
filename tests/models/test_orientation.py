"""Histograms of orientations, and the part of a picture that has edges."""

import numpy as np
import pytest
from PIL import Image

from hf_mner_aug.models.matching.cca import (
    BINS,
    CELLS,
    SIDE,
    crop_to_edges,
    edges_squared,
    orientation_histograms,
)
from hf_mner_aug.models.matching.pairs import group_by_keys

# ---------------------------------------------------------------- orientation histograms


def test_items_that_share_a_key_share_a_group():
    """Also indirectly: 0 and 2 by way of 1; an item without a key is alone."""
    groups = group_by_keys([["a"], ["a", "b"], ["b"], [], ["c"]]).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4]}) == 3
    assert group_by_keys([]).tolist() == []


def test_the_part_with_the_edges():
    pixels = np.full((100, 128, 3), 90, dtype=np.uint8)
    pixels[20:50, 30:70] = 200
    pixels[80:90, 100:110] += 5  # too faint to count
    # Slopes are taken over two pixels, so one beyond each side belongs to the edge.
    assert np.asarray(crop_to_edges(Image.fromarray(pixels))).tolist() == pixels[19:51, 29:71].tolist()
    large = Image.fromarray(pixels).resize((640, 500), Image.Resampling.NEAREST)
    assert crop_to_edges(large).size == (42, 32)
    assert crop_to_edges(Image.new("RGB", (50, 9))).size == (50, 9)
    assert crop_to_edges(Image.new("RGB", (1, 1))).size == (1, 1)


@pytest.mark.parametrize(("turned", "bins"), [(False, (4, 5)), (True, (0,))])
def test_histograms_count_orientations(turned, bins):
    """The slope of horizontal stripes stands at 90 degrees, between the bins at 80 and 100; of vertical ones at 0."""
    square = np.repeat((np.arange(SIDE)[:, None] // 4 % 2 * 255), SIDE, 1)
    square = np.repeat((square.T if turned else square)[..., None], 3, 2).astype(np.float32)
    shares = orientation_histograms(square) ** 2
    cells, overall = shares[:-BINS].reshape(CELLS, CELLS, BINS), shares[-BINS:]
    assert overall == pytest.approx(np.eye(BINS)[list(bins)].mean(0), abs=1e-6)
    assert cells.sum() == pytest.approx(1, abs=1e-5)
    inner = cells[1:-1, 1:-1, bins[0]]
    assert inner == pytest.approx(np.full_like(inner, inner[0, 0]), rel=1e-5)


def test_histograms_of_nothing_are_zero():
    assert not orientation_histograms(edges_squared(Image.new("RGB", (30, 40), "red"))).any()


def test_place_size_and_colour_of_a_shape_do_not_count():
    shape = np.kron(np.random.default_rng(0).integers(0, 2, (4, 4)), np.ones((12, 12)))
    shape[0, 0] = shape[-1, -1] = 1  # so that its rectangle is the whole of it
    shape = (shape * 255).astype(np.uint8)

    def histograms(top, left, ground, ink, size=48):
        pixels = np.tile(np.array(ground, dtype=float), (120, 128, 1))
        sized = np.asarray(Image.fromarray(shape).resize((size, size), Image.Resampling.BILINEAR))[..., None] / 255
        pixels[top : top + size, left : left + size] += sized * (np.array(ink) - ground)
        return orientation_histograms(edges_squared(Image.fromarray(pixels.round().astype(np.uint8))))

    before = histograms(5, 9, (20, 20, 20), (250, 250, 250))
    assert np.abs(histograms(40, 50, (20, 20, 20), (250, 250, 250)) - before).max() < 1e-6
    assert np.abs(histograms(5, 9, (255, 0, 0), (0, 60, 200)) - before).max() < 0.02
    larger = histograms(3, 4, (20, 20, 20), (250, 250, 250), size=96)
    upside_down = orientation_histograms(edges_squared(Image.fromarray(np.repeat(shape[::-1, :, None], 3, 2) // 2)))
    assert np.linalg.norm(larger - before) < 0.5 * np.linalg.norm(upside_down - before)
