"""Number formats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from edgexp.errors import EdgexpError
from edgexp.gguf import formats

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", sorted(formats.KINDS))
def test_sizes_are_the_librarys_own(kind):
    traits = formats._traits(kind)
    assert (traits.blck_size, traits.type_size) == formats.KINDS[kind][1:]


def test_a_library_with_other_layouts_is_refused(monkeypatch):
    monkeypatch.setitem(formats.KINDS, formats.Q8_0, formats.Kind("Q8_0", 32, 36))
    formats._traits.cache_clear()
    with pytest.raises(EdgexpError, match="knows Q8_0 as"):
        formats._traits(formats.Q8_0)
    formats._traits.cache_clear()


finite = hn.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(256)), elements=st.floats(-60000, 60000, width=16))


@settings(deadline=None)
@given(finite)
def test_sixteen_bit_numbers_survive(values):
    assert (formats.to_float(formats.F16, formats.from_float(formats.F16, values), 256) == values).all()
    assert (formats.to_float(formats.F32, formats.from_float(formats.F32, values), 256) == values).all()


ERRORS = {formats.Q8_0: 0.005, formats.Q6_K: 0.02, formats.Q5_0: 0.04, formats.Q4_K: 0.07, formats.Q4_0: 0.09}


@pytest.mark.parametrize(("kind", "error"), ERRORS.items())
def test_quantised_numbers_are_near(kind, error):
    values = np.random.default_rng(0).standard_normal((8, 512)).astype(np.float32)
    back = formats.to_float(kind, formats.from_float(kind, values), 512)
    assert back.shape == values.shape
    assert np.abs(back - values).mean() < error


def test_bfloat16_is_the_upper_half_of_a_float():
    data = np.array([0x3F80, 0xC000, 0x0001], np.uint16)
    assert formats.to_float(formats.BF16, data.view(np.uint8), 3).tolist() == [[1.0, -2.0, np.array(0x10000, np.uint32).view(np.float32)]]


def test_rows_are_whole_blocks():
    with pytest.raises(ValueError, match="blocks hold 256"):
        formats.row_bytes(formats.Q4_K, 576)


def test_formats_without_numbers_say_so():
    with pytest.raises(EdgexpError, match="cannot turn I32 into numbers"):
        formats.to_float(26, np.zeros(8, np.uint8), 2)
