"""The parity gate and the reference it compares with."""

import itertools

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from toys import make_trajectory

from edgexp.errors import EdgexpError
from edgexp.export.parity import BOUNDS, Parity, bounds_for, check_ids, compare, judged, table
from edgexp.export.reference import FILE, Origin, Reference, Sample, read_reference, write_reference
from edgexp.prompt.render import Renderer

from .kit import reference_of

INSTRUCTIONS = "You count. Answer with one action."
SAMPLES = (
    Sample(INSTRUCTIONS, make_trajectory(("add one", "add one", "take one"), goal="count to 1.")),
    Sample(INSTRUCTIONS, make_trajectory(("open box 1",)), (make_trajectory(("open box 2",), goal="open it, <|im_end|>."),)),
)


@pytest.fixture(scope="module")
def reference(engine, model, template):
    """What the default model itself says, token by token."""
    return reference_of(engine, Renderer(model.vocabulary, template, INSTRUCTIONS), SAMPLES)


def changed(reference, **parts):
    return Reference(**{**vars(reference), **parts})


def test_a_model_equals_itself(reference, model):
    seen = []
    parity = compare(reference, model, BOUNDS["q8_0"], lambda done, total: seen.append((done, total)))
    assert parity.failures == ()
    assert parity.ids_equal and parity.ids_checked == 2 and parity.greedy == parity.actions == 1.0
    assert (parity.samples, parity.labels) == (2, sum(map(len, reference.positions)))
    # Not 0: the reference was made one token at a time, and a quantised model's answers depend a little on what is evaluated together.
    assert parity.mean < 0.1 and parity.largest < 0.5
    assert parity.exported_logprob == pytest.approx(parity.trained_logprob, abs=0.1)
    assert seen[-1] == (parity.tokens, parity.tokens)


def test_another_models_answers_do_not_pass(reference, model):
    better = changed(reference, logprobs=[p * np.float32(0.5) for p in reference.logprobs])
    parity = compare(better, model, BOUNDS["q8_0"])
    assert parity.shift == pytest.approx(parity.trained_logprob, abs=0.1)
    [mean] = parity.failures
    assert f"differ by {parity.mean:.3f} nats on average, {parity.allowed:.3f} are allowed" in mean
    other = changed(reference, greedy=[g + np.arange(len(g), dtype=np.int32) % 2 for g in reference.greedy])
    [agreement] = compare(other, model, BOUNDS["q8_0"]).failures
    assert "greedy tokens agree at" in agreement


def test_a_model_that_answers_with_no_numbers_does_not_pass_and_can_be_reported(reference):
    nothing = np.full(reference.labels, np.nan)
    parity = judged(reference, nothing, nothing, (0, ""), BOUNDS["q4_0"])
    assert len(parity.failures) == 2
    assert msgspec.json.decode(msgspec.json.encode(parity), type=Parity) == parity


def test_an_action_agrees_where_all_its_tokens_do(reference):
    """Of four actions in two samples; the first and the last differ at one token each."""
    trained, gaps = np.concatenate(reference.logprobs), np.zeros(reference.labels)
    gaps[0] = gaps[-1] = 9.0
    parity = judged(reference, trained, gaps, (0, ""), BOUNDS["q8_0"])
    assert parity.actions == 0.5 and parity.greedy == pytest.approx(1 - 2 / reference.labels)
    assert "whole actions agree at 50.00%" in table(parity)


def test_token_ids_are_rendered_again(reference, model):
    assert check_ids(reference, model) == (2, "")
    forged = msgspec.structs.replace(SAMPLES[1], instructions="You count. Answer with two actions.")
    checked, difference = check_ids(changed(reference, origin=Origin("bf16", "", samples=(SAMPLES[0], forged))), model)
    assert checked == 1 and difference.startswith("sample 2 (toy/train/1): token ")
    other = "{% for m in messages %}<|im_start|>{{ m['role'] }}:{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant:"
    parity = compare(changed(reference, origin=Origin("bf16", "", template=other, samples=SAMPLES)), model, BOUNDS["f16"])
    assert not parity.ids_equal and "sample 1" in parity.failures[0]
    assert "does not close a turn" in check_ids(changed(reference, origin=Origin("bf16", "", "llama-3", SAMPLES)), model)[1]
    assert "FAILED" in table(parity).splitlines()[1]


def test_ids_outside_the_vocabulary_do_not_reach_the_engine(reference, model):
    ids = [reference.ids[0], reference.ids[1].copy()]
    ids[1][3] = len(model.vocabulary)
    strange = changed(reference, ids=ids, origin=Origin("bf16", ""))
    with pytest.raises(EdgexpError, match=r"sample 2 has token 49152, the exported vocabulary ends at 49151"):
        compare(strange, model, BOUNDS["f16"])


def test_a_reference_without_texts_is_compared_by_numbers_only(reference, model):
    parity = compare(changed(reference, origin=Origin("f32", "")), model, BOUNDS["q8_0"])
    assert parity.failures == () and parity.ids_checked == 0
    assert "in the vocabulary" in table(parity)


def test_rougher_types_and_rougher_references_get_wider_bounds():
    order = [BOUNDS[q] for q in ("f16", "q8_0", "q4_k_m", "q4_0")]
    for tight, loose in itertools.pairwise(order):
        assert tight.mean_for(1.0) < loose.mean_for(1.0) and tight.tie < loose.tie and tight.greedy > loose.greedy
    assert bounds_for("q8_0", "f32") == bounds_for("q8_0", "f16") == BOUNDS["q8_0"]
    for finer, rougher in (("f32", "bf16"), ("bf16", "nf4")):
        a, b = bounds_for("q8_0", finer), bounds_for("q8_0", rougher)
        assert a.mean < b.mean and a.per_nat < b.per_nat and a.tie < b.tie and a.greedy > b.greedy
    assert BOUNDS["q8_0"].mean_for(2.0) > BOUNDS["q8_0"].mean_for(1.0) > BOUNDS["q8_0"].mean


def test_what_is_written_is_read(reference, tmp_path):
    path = write_reference(tmp_path, reference)
    assert path.name == FILE
    back = read_reference(path)
    assert back.origin == reference.origin and back.labels == reference.labels
    for name in ("ids", "positions", "logprobs", "greedy"):
        for a, b in zip(getattr(back, name), getattr(reference, name), strict=True):
            assert (a == b).all() and a.dtype == b.dtype


def with_blocks(reference):
    """As if the memory of the second sample stood apart, in two blocks; the first has none."""
    first = int(reference.positions[1][0])
    blocks = [np.zeros((0, 2), np.int64), np.array([[first - 20, first - 12], [first - 12, first - 4]])]
    return changed(reference, blocks=blocks, origin=msgspec.structs.replace(reference.origin, layout="apart"))


def test_blocks_that_are_written_are_read(reference, tmp_path):
    asked = with_blocks(reference)
    back = read_reference(write_reference(tmp_path, asked))
    assert back.origin.layout == "apart"
    assert [b.tolist() for b in back.blocks] == [b.tolist() for b in asked.blocks] and all(b.shape[1] == 2 for b in back.blocks)
    plain = read_reference(write_reference(tmp_path, reference))
    assert plain.blocks == [] and plain.origin.layout == "chained"


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda t: t.pop("block_counts"), "its blocks of memory are not whole"),
    (lambda t: t.pop("blocks"), "its blocks of memory are not whole"),
    (lambda t: t.update(blocks=t["blocks"].reshape(-1)[:3]), "its blocks of memory are not whole"),
    (lambda t: t.update(block_counts=np.array([1, 2])), "counts do not fit blocks"),
    (lambda t: t.update(block_counts=np.array([2])), "counts do not fit blocks"),
    (lambda t: t.update(block_counts=np.array([-1, 3])), "counts do not fit blocks"),
    (lambda t: t.update(blocks=t["blocks"] + 5), "blocks of memory where there can be none"),
    (lambda t: t.update(blocks=t["blocks"][::-1].copy()), "blocks of memory where there can be none"),
    (lambda t: t.update(blocks=t["blocks"] - 10_000), "blocks of memory where there can be none"),
])
def test_damaged_blocks_are_refused(reference, tmp_path, spoil, words):
    asked = with_blocks(reference)
    path = write_reference(tmp_path, asked)
    for spoilt in (False, True):
        tensors = safetensors.numpy.load_file(path)
        if spoilt:
            spoil(tensors)
        path.write_bytes(safetensors.numpy.save(tensors, {"edgexp": msgspec.json.encode(asked.origin).decode()}))
        if not spoilt:
            read_reference(path)
    with pytest.raises(EdgexpError, match=words):
        read_reference(path)


def damage(name, change):
    return lambda t: t.update({name: change(t[name])})


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda t: t.pop("greedy"), "is no parity reference"),
    (damage("ids", lambda a: a[:-1]), "counts do not fit ids"),
    (damage("label_counts", lambda a: a[:0]), "counts do not fit positions"),
    (damage("label_counts", lambda a: np.array([a.sum()])), "another number of samples"),
    (damage("positions", lambda a: a * 0), "out of order or outside"),
    (damage("positions", lambda a: a + 10_000), "out of order or outside"),
    (damage("logprobs", lambda a: a + 50), "log-probabilities that are none"),
    (damage("logprobs", lambda a: a * np.nan), "log-probabilities that are none"),
])  # fmt: skip
def test_damaged_references_are_refused(reference, tmp_path, spoil, words):
    path = write_reference(tmp_path, reference)
    tensors = safetensors.numpy.load_file(path)
    spoil(tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {"edgexp": msgspec.json.encode(reference.origin).decode()}))
    with pytest.raises(EdgexpError, match=words) as error:
        read_reference(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("meta", "words"), [
    ({}, "metadata do not fit"),
    ({"edgexp": '{"precision": "int3", "adapter_sha256": ""}'}, "precision"),
    ({"edgexp": '{"precision": "f32", "adapter_sha256": "", "format": 9}'}, "has format 9"),
])  # fmt: skip
def test_references_that_say_other_things_are_refused(reference, tmp_path, meta, words):
    path = write_reference(tmp_path, reference)
    path.write_bytes(safetensors.numpy.save(safetensors.numpy.load_file(path), meta))
    with pytest.raises(EdgexpError, match=words):
        read_reference(path)


def test_missing_and_cut_references(reference, tmp_path):
    with pytest.raises(EdgexpError, match="training leaves it beside the adapter"):
        read_reference(tmp_path / FILE)
    path = write_reference(tmp_path, reference)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(EdgexpError, match="is no parity reference"):
        read_reference(path)
