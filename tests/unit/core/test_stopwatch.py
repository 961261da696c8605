"""What work costs: seconds, processor time, and the cards that this process uses."""

from __future__ import annotations

import time

import pytest
import torch

from scan2gene.core.stopwatch import Stopwatch


def test_processor_time_is_work_and_wall_time_is_waiting():
    watch = Stopwatch()
    time.sleep(0.3)
    idle = watch.stamp()
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass
    assert idle["seconds"] >= 0.3 and idle["cpu_seconds"] <= 0.2
    assert watch.stamp()["cpu_seconds"] - idle["cpu_seconds"] == pytest.approx(0.4, abs=0.15)


def test_cards_are_named_only_where_this_process_uses_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert "gpus" not in Stopwatch().stamp()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: ["Card B", "Card A"][number])
    assert Stopwatch().stamp()["gpus"] == ["Card A", "Card B"]
