"""The matrix form where it does not fit."""

import pytest

from fast_weights import FastWeightsCell
from fast_weights.cells import room


def test_a_matrix_form_too_large_for_memory_is_refused(monkeypatch, tmp_path):
    """An allocation that takes the machine down: 2^22 sequences of 2^10 units, 16 TiB."""
    cell = FastWeightsCell(2**10)
    with pytest.raises(ValueError, match=r"16,384\.0 GiB.*units=1024, batch_size=4194304"):
        cell.get_initial_state(batch_size=2**22)
    with pytest.raises(ValueError, match="`FastWeightsAttentionCell`"):
        FastWeightsCell(2**22).build((None, 4))
    # A container that has less than the machine: 3 · 8 · 64² B of 2 MiB, in float64.
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(room, "CONTAINER_LIMITS", (limit,))
    limit.write_text("max\n")
    FastWeightsCell(64, dtype="float64").get_initial_state(batch_size=22)
    limit.write_text(f"{2 * 2**20}\n")
    FastWeightsCell(64, dtype="float64").get_initial_state(batch_size=21)
    with pytest.raises(ValueError, match=r"units²·8 bytes.*batch_size=22"):
        FastWeightsCell(64, dtype="float64").get_initial_state(batch_size=22)
