"""A large map leaves in parts, in the same bytes as a small one."""

import asyncio
import json
from typing import Any

import pytest
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st

from kns.http import answers
from kns.http.answers import JsonAnswer, answer_map

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_the_bytes_are_those_of_the_whole_answer(content: dict[str, Any]) -> None:
    answer = answer_map(content.items())
    whole = JsonAnswer(content)
    assert answer.body == whole.body
    assert answer.headers == whole.headers


async def _read(answer: StreamingResponse) -> list[bytes]:
    return [bytes(part) async for part in answer.body_iterator]  # type: ignore[arg-type]  # bytes are given


def test_a_large_map_is_rendered_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_CHUNK_BYTES", 100)
    content = {str(number): {"text": "ä" * 60} for number in range(20)}
    made = []

    def walk() -> Any:
        for member in content.items():
            made.append(member[0])
            yield member

    answer = answer_map(walk())
    assert len(made) == 2
    assert isinstance(answer, StreamingResponse)
    parts = asyncio.run(_read(answer))
    assert len(parts) > 10
    assert b"".join(parts) == JsonAnswer(content).body
    assert json.loads(b"".join(parts)) == content
