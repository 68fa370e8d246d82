"""What an export leaves beside its file: a record that reads back, a report, and an entry that makes the model known."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.export.adapter import Training
from edgexp.export.parity import BOUNDS, Parity, table
from edgexp.export.provenance import MARK, Digested, Record, check_name, entry_path, pretty, record_path, write_entry, write_report
from edgexp.models import BASE_POLICY, resolve
from edgexp.models.manifest import read


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of each test's own."""
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def a_parity(**changes: object) -> Parity:
    made = Parity(2, 100, 10, True, 2, 0.01, 0.03, -0.01, 0.2, 1.0, 0.9, 1.0, -0.5, -0.51, BOUNDS["q8_0"])
    return msgspec.structs.replace(made, **changes)


def a_record(file: Path, name: str = "mugs", parity: Parity | None = None) -> Record:
    data = file.read_bytes() if file.is_file() else b""
    one = Digested("/w/base.gguf", "0" * 64, 5)
    made = Digested(str(file), hashlib.sha256(data).hexdigest(), len(data) or 1)
    adapter = Digested("/runs/mugs/adapter_model.safetensors", "1" * 64, 6)
    return Record(name, "merged", "q8_0", made, one, adapter, one, "0.1", {"numpy": "2"}, Training(name="mugs", step=7), one,
                  "passed" if parity else "skipped", parity)  # fmt: skip


@pytest.mark.parametrize("parity", [None, a_parity()])
def test_a_record_reads_back(tmp_path: Path, parity: Parity | None) -> None:
    record = a_record(tmp_path / "mugs.q8_0.gguf", parity=parity)
    data = pretty(record)
    assert msgspec.json.decode(data, type=Record) == record
    assert data.endswith(b"}\n") and b'\n  "name": "mugs"' in data
    assert record_path(tmp_path / "mugs.q8_0.gguf") == tmp_path / "mugs.q8_0.gguf.export.json"


def test_a_report_is_written_for_people_and_for_programs(tmp_path: Path) -> None:
    failed = a_parity(failures=("greedy tokens agree at 3%",))
    text = write_report(tmp_path / "m.gguf", failed)
    assert text == tmp_path / "m.gguf.parity.txt" and text.read_text() == table(failed) + "\n"
    assert msgspec.json.decode((tmp_path / "m.gguf.parity.json").read_bytes(), type=Parity) == failed


def test_the_entry_makes_the_model_known(tmp_path: Path, tiny: object) -> None:
    _, file = tiny()  # type: ignore[operator]
    entry = write_entry(a_record(file.path), licence="MIT", context=128)
    assert entry == entry_path("mugs") and entry.read_text().splitlines()[0] == MARK
    ready = resolve("mugs")
    assert (ready.path, ready.licence, ready.context) == (file.path, "MIT", 128)
    assert ready.manifest and ready.manifest.description == "base.gguf with the adapter mugs, q8_0"


FOLDERS = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=12).map("x{}".format)


@given(FOLDERS, st.text(st.characters(blacklist_categories=("Cs",)), max_size=12))
@example("a\x7f", 'b\x7f"\n')
def test_whatever_folders_and_licences_are_called_the_entry_reads_back(folder: str, licence: str) -> None:
    file = Path("/w") / folder / "mugs.q8_0.gguf"
    manifest = read(write_entry(a_record(file), licence=licence, context=9))
    assert (manifest.sources[0].path, manifest.sources[0].files[0].path) == (str(file.parent), file.name)
    assert manifest.licence == (licence or "LicenseRef-unknown") and manifest.derive is None


def test_an_export_takes_no_other_models_name(home: Path) -> None:
    with pytest.raises(EdgexpError, match=rf"^{BASE_POLICY} is the name of another model \(.*\); give the export its own with --name"):
        check_name(BASE_POLICY)
    check_name("mugs")
    write_entry(a_record(Path("/w/mugs.gguf")), licence="", context=9)
    check_name("mugs")
    entry_path("mugs").write_text('name = "mugs"\n')
    with pytest.raises(EdgexpError, match="another model"):
        check_name("mugs")
